"""ONNX Runtime on the GPU and nowhere else: what is missing before, and what it made, compared.

Asked for CUDA where it cannot have it, ONNX Runtime says so on stderr and makes a session on the
CPU.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_runtime import cuda, devices
from lenet_runtime.backends.ort import core, libraries
from lenet_runtime.errors import BackendUnavailable
from lenet_runtime.version import pip_install

# Loaded by the provider when a convolution runs; its file does not name it.
_CUDNN = "libcudnn.so.9"


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
            f"{pip_install(extra)}"
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
        names = libraries.missing(files, [_CUDNN])
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
            f"{pip_install('ort-tensorrt')}, or put their folder on LD_LIBRARY_PATH"
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


def check(name: str, session: Any, provider: str, asked: dict[str, str]) -> None:
    """Compare what ONNX Runtime says it uses with what was asked.

    Args:
        name: of the backend, for messages.
        session: of ONNX Runtime, made with ``session.record_ep_graph_assignment_info``.
        provider: that every node must be on.
        asked: options of the provider that must be in force.

    Raises:
        BackendUnavailable: something differs.
    """
    found = session.get_providers()
    if found not in ([provider], [provider, core.CPU]):  # it always adds the CPU, for no node
        raise BackendUnavailable(
            f"{name}: expected ONNX Runtime to run on {provider}, found {found}; "
            "lenet-deploy doctor tells what is missing here"
        )
    elsewhere = _elsewhere(name, session, provider)
    if elsewhere:
        raise BackendUnavailable(
            f"{name}: expected every node on {provider}, found {', '.join(elsewhere)}; "
            "this version of ONNX Runtime cannot run the model on the GPU as a whole"
        )
    settings = session.get_provider_options().get(provider, {})
    wrong = {key: settings.get(key) for key, value in asked.items() if settings.get(key) != value}
    if wrong:
        raise BackendUnavailable(
            f"{name}: expected {provider} with {asked}, found {wrong}; this version of ONNX "
            "Runtime does not take these options: pip install --upgrade onnxruntime-gpu"
        )


def _elsewhere(name: str, session: Any, provider: str) -> Sequence[str]:
    """The nodes that another provider computes."""
    try:
        parts = session.get_provider_graph_assignment_info()
    except AttributeError as error:
        raise BackendUnavailable(
            f"{name}: expected ONNX Runtime 1.24 or later, which tells where each node runs; "
            "pip install --upgrade onnxruntime-gpu"
        ) from error
    if not any(part.get_nodes() for part in parts):
        raise BackendUnavailable(f"{name}: ONNX Runtime does not tell where its nodes run")
    return [
        f"{node.name} ({node.op_type}) on {part.ep_name}"
        for part in parts
        if part.ep_name != provider
        for node in part.get_nodes()
    ]
