"""``ort-cuda``: ONNX artifacts on ONNX Runtime's CUDA provider, and nowhere else.

ONNX Runtime that cannot use CUDA says so on stderr and runs on the CPU. `probe` finds out before
that, and says what to do; `load` compares what it got with what it asked for.
"""

from pathlib import Path
from typing import Any

from lenet_runtime import cuda, devices
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import _ort, _ort_gpu, _ort_libraries
from lenet_runtime.errors import BackendUnavailable

PROVIDER = "CUDAExecutionProvider"
# Loaded by the provider when a convolution runs; its file does not name it.
_CUDNN = "libcudnn.so.9"


def probe(device: str) -> str:
    """ONNX Runtime's version; see `lenet_runtime.backends.Backend.probe`."""
    onnxruntime = _ort.module("gpu")
    require_provider(onnxruntime, PROVIDER, "gpu")
    require(reasons(onnxruntime, device, "cuda"))
    version: str = onnxruntime.__version__
    return version


def load(artifact: Artifact, device: str, threads: int | None) -> _ort_gpu.OrtGpu:
    """See `lenet_runtime.backends.Backend.load`."""
    index = devices.parse(device).index

    def make(stream: int) -> Any:
        asked = {
            "device_id": str(index),
            # Full float32 unless the artifact asks for less.
            "use_tf32": str(int(artifact.manifest.precision == "tf32")),
        }
        settings = asked | {
            "user_compute_stream": str(stream),
            "enable_cuda_graph": "0",  # see _ort_gpu
            # cuDNN's own rule. EXHAUSTIVE times every algorithm at the first run of each size,
            # and takes another one, with other last bits, in another process.
            "cudnn_conv_algo_search": "HEURISTIC",
            # As much device memory as is needed, instead of the next power of two.
            "arena_extend_strategy": "kSameAsRequested",
        }
        session = _ort.session(artifact, options(threads), [(PROVIDER, settings)])
        _ort_gpu.check("ort-cuda", session, PROVIDER, asked)
        return session

    return _ort_gpu.OrtGpu("ort-cuda", artifact, index, make)


def starts(artifact: Artifact) -> tuple[int, ...]:
    """Each graph's, and where they end; see `lenet_runtime.backends.Backend.starts`.

    The self-test thus captures every graph, which no user pays for later.
    """
    size = artifact.manifest.batch_size
    return _ort_gpu.STARTS if size is None else (size,)


def options(threads: int | None) -> Any:
    """`SessionOptions` that refuse a node on the CPU, and tell where each node went.

    One CPU thread by default: every kernel is the GPU's, and a pool would wait for nothing.
    """
    made = _ort.options(threads or 1)
    made.enable_mem_pattern = False  # plans memory at one run of a size, allocates it at the next
    made.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    made.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return made


def require_provider(onnxruntime: Any, provider: str, extra: str) -> None:
    """Refuse an ONNX Runtime that was built without `provider`.

    Raises:
        BackendUnavailable: it was.
    """
    found = onnxruntime.get_available_providers()
    if provider not in found:
        raise BackendUnavailable(
            f"expected an ONNX Runtime with {provider}, found {onnxruntime.__version__} with "
            f"{', '.join(found)}; pip uninstall onnxruntime onnxruntime-gpu, then "
            f"pip install 'lenet-deploy[{extra}]'"
        )


def reasons(onnxruntime: Any, device: str, *providers: str) -> list[str]:
    """Why these providers, ``cuda`` and ``tensorrt``, cannot run on `device`; empty if they can."""
    found = _missing(onnxruntime, *providers)
    try:
        return found + _old_driver(onnxruntime, cuda.gpu(devices.parse(device).index))
    except BackendUnavailable as error:
        return [*found, str(error)]


def require(reasons: list[str]) -> None:
    """Raise `BackendUnavailable` with all reasons, if there are any."""
    if reasons:
        raise BackendUnavailable("; and ".join(reasons))


def _missing(onnxruntime: Any, *providers: str) -> list[str]:
    """What the files of `providers` need and the dynamic linker cannot load."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    files = [folder / f"libonnxruntime_providers_{provider}.so" for provider in providers]
    try:
        names = _ort_libraries.missing(files, [_CUDNN])
    except OSError as error:
        return [f"{error}; pip install --force-reinstall onnxruntime-gpu"]
    reasons = []
    tensorrt = [name for name in names if name.startswith(("libnvinfer", "libnvonnxparser"))]
    rest = [name for name in names if name not in tensorrt]
    about = f"onnxruntime-gpu {onnxruntime.__version__}, built for CUDA {onnxruntime.cuda_version},"
    if rest:
        reasons.append(
            f"{about} needs libraries of CUDA and cuDNN that are not found: {', '.join(rest)}; "
            "pip install 'onnxruntime-gpu[cuda,cudnn]', or put their folders on LD_LIBRARY_PATH"
        )
    if tensorrt:
        reasons.append(
            f"{about} needs libraries of TensorRT that are not found: {', '.join(tensorrt)}; "
            "pip install 'lenet-deploy[ort-tensorrt]', or put their folder on LD_LIBRARY_PATH"
        )
    return reasons


def _old_driver(onnxruntime: Any, gpu: cuda.Gpu) -> list[str]:
    """A driver runs programs built for its major version of CUDA and for older ones."""
    built, driver = onnxruntime.cuda_version.split(".")[0], gpu.driver.split(".")[0]
    if int(built) <= int(driver):
        return []
    return [
        f"onnxruntime-gpu {onnxruntime.__version__} is built for CUDA {built} and the driver "
        f"supports CUDA {gpu.driver}; update the NVIDIA driver, or install an onnxruntime-gpu "
        f"that is built for CUDA {driver}"
    ]
