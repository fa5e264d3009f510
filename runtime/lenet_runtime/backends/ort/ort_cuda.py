"""``ort-cuda``: ONNX artifacts on ONNX Runtime's CUDA provider, and nowhere else.

ONNX Runtime that cannot use CUDA says so on stderr and runs on the CPU. `probe` finds out before
that, and says what to do; `load` compares what it got with what it asked for.
"""

from typing import Any

from lenet_runtime import devices
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends.ort import core, gpu, strict

PROVIDER = "CUDAExecutionProvider"


def probe(device: str) -> str:
    """ONNX Runtime's version; see `lenet_runtime.backends.Backend.probe`."""
    onnxruntime = core.import_onnxruntime("gpu")
    strict.require_provider(onnxruntime, PROVIDER, "gpu")
    strict.require(strict.reasons(onnxruntime, device, "cuda"))
    version: str = onnxruntime.__version__
    return version


def load(artifact: Artifact, device: str, threads: int | None) -> gpu.OrtGpu:
    """See `lenet_runtime.backends.Backend.load`."""
    index = devices.parse(device).index

    def make(stream: int) -> Any:
        found = settings(artifact, index, stream)
        session = core.session(artifact, options(threads), [(PROVIDER, found)])
        asked = {name: found[name] for name in ("device_id", "use_tf32")}
        strict.check("ort-cuda", session, PROVIDER, asked)
        return session

    return gpu.OrtGpu("ort-cuda", artifact, index, make)


def starts(artifact: Artifact) -> tuple[int, ...]:
    """Each graph's, and where they end; see `lenet_runtime.backends.Backend.starts`.

    The self-test thus captures every graph, which no user pays for later.
    """
    return gpu.STARTS


def settings(artifact: Artifact, index: int, stream: int) -> dict[str, str]:
    """The provider's options."""
    return {
        "device_id": str(index),
        "user_compute_stream": str(stream),
        "enable_cuda_graph": "0",  # see `lenet_runtime.backends.ort.gpu`
        # Full float32 unless the artifact asks for less.
        "use_tf32": str(int(artifact.manifest.precision == "tf32")),
        # cuDNN's own rule. EXHAUSTIVE times every algorithm at the first run of each size, and
        # takes another one, with other last bits, in another process.
        "cudnn_conv_algo_search": "HEURISTIC",
        # As much device memory as is needed, instead of the next power of two.
        "arena_extend_strategy": "kSameAsRequested",
    }


def options(threads: int | None) -> Any:
    """`SessionOptions` that refuse a node on the CPU, and tell where each node went."""
    made = core.options(threads)
    made.enable_mem_pattern = False  # plans memory at one run of a size, allocates it at the next
    made.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    made.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return made
