"""``ort-tensorrt``: ONNX artifacts on ONNX Runtime's TensorRT provider, and nowhere else.

The provider is built for one major version of TensorRT: onnxruntime-gpu 1.31 loads
``libnvinfer.so.10``, so TensorRT 11, which the backend ``tensorrt`` takes as well, does not do.

**TF32.** TensorRT computes float32 in TF32 wherever a GPU has it, and this provider has no option
against it. So a ``tf32`` artifact runs as it is, and an ``fp32`` one where the environment says
``NVIDIA_TF32_OVERRIDE=0``, which NVIDIA's libraries read when they are loaded.
"""

import os
import re
from pathlib import Path
from typing import Any

from lenet_runtime import cuda, devices
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends.ort import cache, core, libraries, ort_cuda, strict
from lenet_runtime.backends.ort import gpu as ort_gpu
from lenet_runtime.backends.ort.lane import GRAPH_BATCH
from lenet_runtime.errors import ArtifactError, BackendUnavailable
from lenet_runtime.version import installed, pip_install

PROVIDER = "TensorrtExecutionProvider"
# Batch sizes of the optimization profile: TensorRT takes the kernels that are fastest at OPT, and
# an engine takes any size from MIN to MAX.
MIN, OPT, MAX = 1, GRAPH_BATCH, ort_gpu.MAX_BATCH
WORKSPACE_BYTES = 2**28  # that TensorRT's kernels may have
_DISTRIBUTIONS = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")
_OVERRIDE = "NVIDIA_TF32_OVERRIDE"


def probe(device: str) -> str:
    """ONNX Runtime's and TensorRT's version; see `lenet_runtime.backends.Backend.probe`."""
    onnxruntime = core.import_onnxruntime("ort-tensorrt")
    strict.require_provider(onnxruntime, PROVIDER, "ort-tensorrt")
    found = _other_release(onnxruntime)
    strict.require(found + strict.reasons(onnxruntime, device, "cuda", "tensorrt"))
    return f"{onnxruntime.__version__} with TensorRT {_version(onnxruntime)}"


def load(artifact: Artifact, device: str, threads: int | None) -> ort_gpu.OrtGpu:
    """See `lenet_runtime.backends.Backend.load`."""
    index = devices.parse(device).index
    gpu = cuda.gpu(index)
    tf32 = _computes_tf32(gpu)
    _require_precision(artifact, tf32)
    onnxruntime = core.import_onnxruntime("ort-tensorrt")
    key = {
        "model": artifact.manifest.files[core.MODEL].sha256,
        "profile": _profile(artifact),
        "tf32": tf32,
        "gpu": gpu.name,
        "compute_capability": gpu.compute_capability,
        "driver": gpu.driver,
        "tensorrt": _version(onnxruntime),
        "onnxruntime": onnxruntime.__version__,
    }

    def make(stream: int) -> Any:
        with cache.opened(key) as folder:
            options = settings(artifact, index, stream, folder)
            try:
                return _session(artifact, threads, options)
            except (ArtifactError, BackendUnavailable):
                # A run that was killed may have left half an engine.
                if not cache.clear(folder):
                    raise
                return _session(artifact, threads, options)

    return ort_gpu.OrtGpu("ort-tensorrt", artifact, index, make)


def starts(artifact: Artifact) -> tuple[int, ...]:
    """As of ``ort-cuda``; see `lenet_runtime.backends.Backend.starts`."""
    return ort_cuda.starts(artifact)


def settings(artifact: Artifact, index: int, stream: int, folder: Path) -> dict[str, str]:
    """The provider's options; it takes ``True`` and ``False``, where CUDA's takes 1 and 0."""
    return {
        **_profile(artifact),
        "device_id": str(index),
        "user_compute_stream": str(stream),
        "trt_cuda_graph_enable": "False",  # see `lenet_runtime.backends.ort.gpu`
        "trt_fp16_enable": "False",
        "trt_bf16_enable": "False",
        "trt_int8_enable": "False",
        "trt_max_workspace_size": str(WORKSPACE_BYTES),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
    }


def _session(artifact: Artifact, threads: int | None, options: dict[str, str]) -> Any:
    session = core.session(artifact, ort_cuda.options(threads), [(PROVIDER, options)])
    strict.check("ort-tensorrt", session, PROVIDER, {"device_id": options["device_id"]})
    return session


def _profile(artifact: Artifact) -> dict[str, str]:
    """The provider's options for the batch sizes; none for a static artifact, which has one."""
    if artifact.manifest.batch_size is not None:
        return {}
    name = artifact.manifest.inputs[0].name
    return {
        f"trt_profile_{which}_shapes": f"{name}:{size}x1x32x32"
        for which, size in (("min", MIN), ("opt", OPT), ("max", MAX))
    }


def _computes_tf32(gpu: cuda.Gpu) -> bool:
    """Whether TensorRT takes TF32 for float32 here."""
    has_it = int(gpu.compute_capability.split(".")[0]) >= 8
    return has_it and os.environ.get(_OVERRIDE) != "0"


def _require_precision(artifact: Artifact, tf32: bool) -> None:
    if tf32 and artifact.manifest.precision != "tf32":
        raise BackendUnavailable(
            f"{artifact.path}: expected to compute {artifact.manifest.precision!r}, and TensorRT "
            f"computes float32 in TF32 on this GPU; start the process with {_OVERRIDE}=0, export "
            "with --precision tf32, or take --backend ort-cuda"
        )


def _other_release(onnxruntime: Any) -> list[str]:
    """A TensorRT that is installed and of another major version than the provider's."""
    expected = _soname(onnxruntime).rpartition(".")[2]
    for name in _DISTRIBUTIONS:
        found = installed(name)
        if found is not None and found.split(".")[0] != expected:
            return [
                f"onnxruntime-gpu {onnxruntime.__version__} is built for TensorRT {expected}, "
                f"found {name} {found}; in an environment of its own, "
                f"{pip_install('ort-tensorrt')}, or take the backend 'tensorrt', which runs on "
                "that one"
            ]
    return []


def _soname(onnxruntime: Any) -> str:
    """The TensorRT library that the provider loads, ``libnvinfer.so.10``."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        names = libraries.needed(folder / "libonnxruntime_providers_tensorrt.so")
    except OSError as error:
        raise BackendUnavailable(
            f"{error}; pip install --force-reinstall onnxruntime-gpu"
        ) from error
    return next((name for name in names if re.match(r"libnvinfer\.so\.\d+$", name)), "?")


def _version(onnxruntime: Any) -> str:
    """TensorRT's own version, of the library that the provider loads: ``10.13.2``."""
    number = int(libraries.load(_soname(onnxruntime)).getInferLibVersion())
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
