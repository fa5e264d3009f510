"""The engines, one file each; this table is the support matrix."""

import contextlib
import importlib
from dataclasses import dataclass
from typing import Any

from lenet_runtime import devices
from lenet_runtime.artifact import Artifact, Manifest
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.errors import BackendUnavailable, InputError
from lenet_runtime.plans import chunks


@dataclass(frozen=True)
class Backend:
    """One engine.

    Attributes:
        module: of ours, with ``load(artifact, device, threads) -> Predictor``,
            ``probe(device) -> str``, which raises `BackendUnavailable` or names the version, and
            ``starts(artifact) -> tuple[int, ...]``, see `starts`.
        format: of the artifacts it runs.
        devices: kinds of them that it can run on, ``cpu`` and ``cuda``.
        extra: of lenet-deploy that installs it; None where the base install has it.
        distributions: on PyPI that bring the engine; one of them is enough.
        cut: whether large batches are given to it in chunks, see `lenet_runtime.plans.chunks`;
            False for an engine that cuts them itself.
    """

    module: str
    format: str
    devices: tuple[str, ...]
    extra: str | None
    distributions: tuple[str, ...]
    cut: bool = True

    def version(self) -> str | None:
        """The installed distribution's version, read without importing it; None without one."""
        import importlib.metadata  # 20 ms, which only plans and reports pay

        for name in self.distributions:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                return importlib.metadata.version(name)
        return None

    def takes(self, format: str, device: str) -> bool:
        """Whether it is for artifacts of this format and for this device; it may not be here.

        Raises:
            InputError: see `lenet_runtime.devices.parse`.
        """
        return format == self.format and devices.parse(device).kind in self.devices

    def probe(self, device: str) -> str:
        """The engine's version, if it is here and can use `device`.

        Raises:
            BackendUnavailable: it is not installed or lacks the device; says what to do.
        """
        version: str = self._module().probe(device)
        return version

    def load(self, artifact: Artifact, device: str, threads: int | None) -> Predictor:
        """Load the artifact into the engine; see `lenet_runtime.load` for the arguments."""
        predictor: Predictor = self._module().load(artifact, device, threads)
        return predictor

    def chunk(self, manifest: Manifest, device: str) -> int | None:
        """Images in a chunk that large batches are cut into by default; None for no cutting.

        A chunk of a static artifact's batch would be no batch of its size. A GPU is filled by
        large batches; the reason to cut is a CPU's cache.
        """
        whole = manifest.batch_size is not None or devices.parse(device).kind != "cpu"
        return chunks.DEFAULT if self.cut and not whole else None

    def starts(self, artifact: Artifact) -> tuple[int, ...]:
        """The least batch size of each program that the engine runs this artifact with.

        Ascending. A proof must run a batch on both sides of every start.

        Raises:
            ArtifactError: the files are not this backend's.
        """
        batch_sizes: tuple[int, ...] = self._module().starts(artifact)
        return batch_sizes

    def _module(self) -> Any:
        return importlib.import_module(self.module)


_TORCH = ("torch",)
BACKENDS = {
    "ort-cpu": Backend(
        "lenet_runtime.backends.ort.ort_cpu",
        "onnx",
        ("cpu",),
        "cpu",
        ("onnxruntime", "onnxruntime-gpu"),
    ),
    "ort-cuda": Backend(
        "lenet_runtime.backends.ort.ort_cuda",
        "onnx",
        ("cuda",),
        "gpu",
        ("onnxruntime-gpu",),
        cut=False,
    ),
    "ort-tensorrt": Backend(
        "lenet_runtime.backends.ort.ort_tensorrt",
        "onnx",
        ("cuda",),
        "ort-tensorrt",
        ("onnxruntime-gpu",),
        cut=False,
    ),
    "torchscript": Backend(
        "lenet_runtime.backends.torch.torchscript", "torchscript", ("cpu", "cuda"), "export", _TORCH
    ),
    "torch-compile": Backend(
        "lenet_runtime.backends.torch.torch_compile",
        "torch-compile",
        ("cpu", "cuda"),
        "export",
        _TORCH,
    ),
    "native": Backend(
        "lenet_runtime.backends.native", "native", ("cpu",), None, ("lenet-deploy",), cut=False
    ),
    "tensorrt": Backend(
        "lenet_runtime.backends.tensorrt.predictor",
        "tensorrt",
        ("cuda",),
        "tensorrt",
        ("tensorrt", "tensorrt-rtx"),
        cut=False,
    ),
    "fused-cuda": Backend(
        "lenet_runtime.backends.fused.fused_cuda",
        "cuda",
        ("cuda",),
        None,
        ("lenet-deploy",),
        cut=False,
    ),
}


def torch_missing(error: Exception) -> BackendUnavailable:
    """What the backends that run on PyTorch raise where it cannot be imported."""
    return BackendUnavailable(
        f"PyTorch cannot be imported ({error}); pip install 'lenet-deploy[export]'"
    )


def choose(format: str, backend: str, device: str) -> str:
    """The key of `BACKENDS` that runs artifacts of `format` on `device`.

    Args:
        format: of the artifact.
        backend: a key, or ``auto`` for the first of the table that is available.
        device: what is asked for, and therefore what it will run on.

    Raises:
        InputError: no such backend or device, or the backend runs another format.
        BackendUnavailable: none can; every candidate's reason is given.
    """
    kind = devices.parse(device).kind
    if backend != "auto":
        chosen = BACKENDS.get(backend)
        if chosen is None or chosen.format != format:
            able = [name for name, b in BACKENDS.items() if b.format == format]
            raise InputError(
                f"backend: {backend!r} does not run {format!r} artifacts; expected one of {able}"
            )
        if kind not in chosen.devices:
            raise InputError(
                f"device: {backend!r} runs on {' and '.join(chosen.devices)}, found {device!r}"
            )
        chosen.probe(device)
        return backend
    reasons = []
    for name, candidate in BACKENDS.items():
        if not candidate.takes(format, device):
            continue
        try:
            candidate.probe(device)
        except BackendUnavailable as error:
            reasons.append(f"{name}: {error}")
        else:
            return name
    raise BackendUnavailable("; ".join(reasons) or none_runs(format, device))


def none_runs(format: str, device: str) -> str:
    """What to say where no backend runs artifacts of `format` on `device`."""
    kinds = sorted({kind for b in BACKENDS.values() if b.format == format for kind in b.devices})
    hint = f"; expected the device {' or '.join(kinds)} (command line: --device)" if kinds else ""
    return f"device: no backend of this version runs {format!r} artifacts on {device!r}{hint}"
