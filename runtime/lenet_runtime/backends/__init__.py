"""The engines, one file each; this table is the support matrix."""

import contextlib
import importlib
from dataclasses import dataclass
from typing import Any

from lenet_runtime import devices
from lenet_runtime.artifact import Artifact, Manifest
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.errors import BackendUnavailable, InputError, expected_one_of
from lenet_runtime.plans import chunks
from lenet_runtime.version import installed


@dataclass(frozen=True)
class Backend:
    """One engine.

    Attributes:
        module: of ours, with ``load(artifact, device, threads) -> Predictor``,
            ``probe(device) -> str``, which raises `BackendUnavailable` or names the version, and
            ``starts(artifact) -> tuple[int, ...]``, see `starts`, which asks it where the batch
            size is dynamic.
        format: of the artifacts it runs.
        devices: kinds of them that it can run on, ``cpu`` and ``cuda``.
        extra: of lenet-deploy that installs it; None where the base install has it.
        distributions: on PyPI that bring the engine; one of them is enough.
        cut: whether large batches are given to it in chunks, see `lenet_runtime.plans.chunks`;
            False for an engine that cuts them itself.
        choosy: Whether the engine needs more of the machine than a manifest's requirements say; the
            module then has ``unmet(manifest) -> list[str]``, see `unmet`.
    """

    module: str
    format: str
    devices: tuple[str, ...]
    extra: str | None
    distributions: tuple[str, ...]
    cut: bool = True
    choosy: bool = False

    def version(self) -> str | None:
        """The installed distribution's version, read without importing it; None without one."""
        return next(filter(None, map(installed, self.distributions)), None)

    def probe(self, device: str) -> str:
        """The engine's version, if it is here and can use `device`.

        Raises:
            BackendUnavailable: it is not installed or lacks the device; says what to do.
        """
        version: str = self._module().probe(device)
        return version

    def unmet(self, manifest: Manifest) -> list[str]:
        """Why the engine that is here cannot run the artifact, one sentence each.

        Empty where it can; and where there is no engine, which `probe` says.
        """
        reasons: list[str] = []
        with contextlib.suppress(BackendUnavailable):
            reasons = self._module().unmet(manifest) if self.choosy else []
        return reasons

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
        static = artifact.manifest.batch_size
        batch_sizes: tuple[int, ...] = (static,) if static else self._module().starts(artifact)
        return batch_sizes

    def _module(self) -> Any:
        return importlib.import_module(self.module)


_BOTH, _TORCH = ("cpu", "cuda"), ("torch",)
BACKENDS = {
    "ort-cpu": Backend(
        "lenet_runtime.backends.ort.ort_cpu", "onnx", ("cpu",), "cpu",
        ("onnxruntime", "onnxruntime-gpu"),
    ),
    "ort-cuda": Backend(
        "lenet_runtime.backends.ort.ort_cuda", "onnx", ("cuda",), "gpu", ("onnxruntime-gpu",),
        cut=False,
    ),
    "ort-tensorrt": Backend(
        "lenet_runtime.backends.ort.ort_tensorrt", "onnx", ("cuda",), "ort-tensorrt",
        ("onnxruntime-gpu",), cut=False,
    ),
    "torchscript": Backend(
        "lenet_runtime.backends.torch.torchscript", "torchscript", _BOTH, "export", _TORCH
    ),
    "torch-compile": Backend(
        "lenet_runtime.backends.torch.torch_compile", "torch-compile", _BOTH, "export", _TORCH,
        choosy=True,
    ),
    "native": Backend(
        "lenet_runtime.backends.native", "native", ("cpu",), None, ("lenet-deploy",), cut=False
    ),
    "node": Backend(
        "lenet_runtime.backends.node", "web", ("cpu",), None, ("lenet-deploy",), cut=False
    ),
    "tensorrt": Backend(
        "lenet_runtime.backends.tensorrt.predictor", "tensorrt", ("cuda",), "tensorrt",
        ("tensorrt", "tensorrt-rtx"), cut=False, choosy=True,
    ),
    "fused-cuda": Backend(
        "lenet_runtime.backends.fused.fused_cuda", "cuda", ("cuda",), None, ("lenet-deploy",),
        cut=False,
    ),
}  # fmt: skip


def backends_of(format: str, device: str | None = None) -> list[str]:
    """The keys of `BACKENDS` that run artifacts of `format`, on `device` where it is given.

    Raises:
        InputError: see `lenet_runtime.devices.parse`.
    """
    kind = devices.parse(device).kind if device is not None else None
    return [
        name
        for name, backend in BACKENDS.items()
        if backend.format == format and (kind is None or kind in backend.devices)
    ]


def kinds_of(format: str) -> list[str]:
    """The kinds of devices, ``cpu`` and ``cuda``, on which a backend runs `format`; sorted."""
    return sorted({kind for name in backends_of(format) for kind in BACKENDS[name].devices})


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
    able = backends_of(format, device)
    if backend != "auto":
        if backend not in backends_of(format):
            raise InputError(
                f"backend: {backend!r} does not run {format!r} artifacts; "
                + expected_one_of(["auto", *backends_of(format)], backend)
            )
        chosen = BACKENDS[backend]
        if backend not in able:
            raise InputError(
                f"device: {backend!r} runs on {' and '.join(chosen.devices)}, found {device!r}"
            )
        chosen.probe(device)
        return backend
    reasons = []
    for name in able:
        try:
            BACKENDS[name].probe(device)
        except BackendUnavailable as error:
            reasons.append(f"{name}: {error}")
        else:
            return name
    raise BackendUnavailable("; ".join(reasons) or none_runs(format, device))


def none_runs(format: str, device: str) -> str:
    """What to say where no backend runs artifacts of `format` on `device`."""
    kinds = kinds_of(format)
    hint = f"; expected the device {' or '.join(kinds)}" if kinds else ""
    return f"device: no backend of this version runs {format!r} artifacts on {device!r}{hint}"
