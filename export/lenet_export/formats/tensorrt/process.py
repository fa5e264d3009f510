"""The builder's process: given a graph and the GPUs, it gives an engine back or says why not."""

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_runtime import cuda
from lenet_runtime.backends.tensorrt.core import MODULES, TITLES, Profile
from lenet_runtime.devices import Device
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError
from lenet_runtime.version import pip_install

BUILDER = Path(__file__).with_name("builder.py")
_CAPABILITY = re.compile(r"([0-9]{1,2})\.?([0-9])")
_SECONDS = 1800  # TensorRT times every kernel it knows, on GPUs that others may use
_TAIL = 2000
# What CUDA says where there is no GPU or no driver; error 35 is a driver that is older than the
# library, as the lack of one is.
_NO_GPU = ("cudaError 35", "cudaError 100", "CUDA initialization failure", "no CUDA-capable device")


@dataclass(frozen=True)
class Target:
    """The GPUs of an engine.

    Attributes:
        capabilities: compute capabilities, ``8.6``, ascending.
        told: whether the builder is told them; else it builds for the GPU it runs on.
        gpu: UUID of the GPU to build on, as CUDA_VISIBLE_DEVICES takes it; None for none.
    """

    capabilities: tuple[str, ...]
    told: bool
    gpu: str | None = None


@dataclass(frozen=True)
class Job:
    """What to build.

    Attributes:
        library: a key of `MODULES`.
        profile: batch sizes.
        tf32: whether float32 products may be rounded to TF32.
        target: GPUs to build for.
        image_shape: ``(C, H, W)``.
    """

    library: str
    profile: Profile
    tf32: bool
    target: Target
    image_shape: tuple[int, int, int]

    def document(self) -> dict[str, Any]:
        """``job.json``; see `lenet_export.formats.tensorrt.builder`."""
        return {
            "module": MODULES[self.library],
            "profile": self.profile,
            "tf32": self.tf32,
            "image_shape": self.image_shape,
            "capabilities": self.target.capabilities if self.target.told else (),
        }


@dataclass(frozen=True)
class Engine:
    """What was built.

    Attributes:
        data: the serialized engine.
        version: of the library.
        layers: what the library tells of the compiled layers.
        tf32: whether the builder was allowed TF32, by its own account.
    """

    data: bytes
    version: str
    layers: str
    tf32: bool


def target(wanted: Any, library: str, device: Device) -> Target:
    """The GPUs of the option ``compute_capability``.

    Args:
        wanted: ``8.6``, or several as ``8.6,8.9``; None for the GPU of this machine.
        library: ``tensorrt`` builds on its target, ``tensorrt-rtx`` without any GPU.
        device: which GPU of this machine.

    Raises:
        InputError: not compute capabilities, or `library` cannot be told any.
        BackendUnavailable: the GPU of this machine is wanted and there is none.
    """
    told = library != "tensorrt"
    if wanted is not None and not told:
        raise InputError(
            "compute capability: TensorRT builds for the GPU it runs on, found "
            f"{wanted!r}; --library tensorrt-rtx builds for GPUs that are elsewhere"
        )
    if wanted is not None:
        return Target(_capabilities(str(wanted)), told)
    try:
        found = cuda.gpu(device.index)
    except BackendUnavailable as error:
        raise BackendUnavailable(
            f"compute capability: expected a GPU to build for, found none ({error}); "
            "--library tensorrt-rtx builds without one for the GPUs that are named, say "
            "--compute-capability 8.0,8.6,8.9,12.0"
        ) from error
    return Target((found.compute_capability,), told, found.nvidia_id)


def _capabilities(text: str) -> tuple[str, ...]:
    parts = [_CAPABILITY.fullmatch(part.strip()) for part in text.split(",")]
    found = {f"{part[1]}.{part[2]}" for part in parts if part}
    if None in parts:
        raise InputError(
            f"compute capability: expected numbers like 8.6 or 8.6,8.9, found {text[:100]!r}"
        )
    return tuple(sorted(found, key=float))


def build(graph: bytes, job: Job, precision: str) -> Engine:
    """Build the engine of an ONNX graph, which is in the types of `precision` already.

    Raises:
        InputError: the library cannot build for a capability that was asked for; says which it can.
        BackendUnavailable: the library cannot be imported, or needs a GPU and there is none.
        DeployError: the parser or the builder failed, or its process died; in their own words.
    """
    with tempfile.TemporaryDirectory(prefix="lenet-export-") as name:
        folder = Path(name)
        (folder / "model.onnx").write_bytes(graph)
        (folder / "job.json").write_text(json.dumps(job.document()), encoding="utf-8")
        words = _run(folder, job)
        try:
            report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DeployError(
                f"tensorrt: {TITLES[job.library]} died while building: {words}"
            ) from error
        if "failed" in report:
            raise _refusal(report, job, precision)
        data = (folder / "model.engine").read_bytes()
    return Engine(data, report["version"], report["layers"], report["tf32"])


def _run(folder: Path, job: Job) -> str:
    """Run the builder; returns the end of what it printed, and its exit code."""
    environment = dict(os.environ)
    if job.target.gpu:
        environment["CUDA_VISIBLE_DEVICES"] = job.target.gpu
    # -P: the folder of builder.py is no place to import from.
    command = [sys.executable, "-P", str(BUILDER), str(folder)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_SECONDS,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeployError(f"tensorrt: the builder's process did not end well ({error})") from error
    return f"exit code {done.returncode}, {(done.stderr or done.stdout).strip()[-_TAIL:]!r}"


def _refusal(report: dict[str, Any], job: Job, precision: str) -> DeployError:
    """What a failed build means."""
    title = f"{TITLES[job.library]} {report['version']}".strip()
    words = "; ".join(report["errors"])[-_TAIL:]
    stage = report["failed"]
    if stage == "import":
        return BackendUnavailable(
            f"tensorrt: {title} cannot be imported ({words}); install it again: "
            f"{pip_install(job.library)}"
        )
    asked = ", ".join(job.target.capabilities)
    able = ", ".join(possible(report["capabilities"], precision))
    if stage == "capability":
        return InputError(
            f"compute capability: {title} builds {precision} for {able}, found {asked}"
        )
    if stage == "parse":
        return DeployError(f"tensorrt: {title} does not understand the graph: {words}")
    if any(text in words for text in _NO_GPU):
        return BackendUnavailable(
            f"tensorrt: {title} builds on the GPU that the engine is for, and CUDA finds none "
            f"({words}); build on a machine with that GPU, or with --library tensorrt-rtx and "
            "--compute-capability, which need none"
        )
    hint = f"; it builds {precision} for {able}" if able else ""
    return DeployError(f"tensorrt: {title} cannot build {precision} for {asked}: {words}{hint}")


def possible(capabilities: list[str], precision: str) -> list[str]:
    """For which of a library's capabilities LeNet can be built.

    Turing, 7.5, has kernels of LeNet's dense layers in fp16 alone; tried with TensorRT-RTX 1.7.
    """
    return [c for c in capabilities if c != "7.5" or precision == "fp16"]
