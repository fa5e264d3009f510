"""What the backends on ONNX Runtime share: making a session, strictly, and reading its errors."""

import os
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from lenet_runtime.artifact import Artifact
from lenet_runtime.errors import (
    ArtifactError,
    BackendUnavailable,
    DeployError,
    DeviceMemoryError,
)
from lenet_runtime.formats import FORMATS
from lenet_runtime.version import pip_install

(MODEL,) = FORMATS["onnx"].files
CPU = "CPUExecutionProvider"
# Words for "out of device memory" of ONNX Runtime's arena, CUDA, cuBLAS and cuDNN.
_NO_MEMORY = re.compile(
    r"Failed to allocate memory|out of memory|CUDA (?:failure|error):? 2\b|BFCArena|ALLOC_FAILED",
    re.IGNORECASE,
)
# A provider or a library of NVIDIA's that fails is this machine's fault, not the model's.
_NO_DEVICE = re.compile(
    r"fallback to CPU EP has been explicitly disabled|\b(?:CUDA|CUDNN|CUBLAS) (?:failure|error)"
    r"|Please install TensorRT libraries",
    re.IGNORECASE,
)


def import_onnxruntime(extra: str = "cpu") -> Any:
    """Import `onnxruntime` with its telemetry off; everything of ours that needs it comes here.

    From 1.29 on it otherwise looks its vendor up in the DNS, writes an identifier and a database
    below the user's home, and keeps a thread for that, for which a forked child waits for ever when
    it ends. It reads the variable when it is imported, so a call afterwards is too late. Whoever
    sets ``ORT_DISABLE_TELEMETRY`` himself, even to 0, is heard.

    Args:
        extra: The extra of lenet-deploy that brings it, for the error.

    Raises:
        BackendUnavailable: It is not installed or cannot be imported.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailable(
            f"ONNX Runtime cannot be imported ({error}); {pip_install(extra)}"
        ) from error
    return onnxruntime


def options(threads: int | None) -> Any:
    """`SessionOptions` that keep a model from reading files of this machine.

    Args:
        threads: Threads of a call, the caller's among them; None is one, which starts no pool.
    """
    made = import_onnxruntime().SessionOptions()
    made.intra_op_num_threads = threads or 1
    # Threads that wait for work sleep: spinning, they take a core each between two calls.
    made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    made.log_severity_level = 4  # fatal; everything else reaches us as an exception
    # Weights are embedded. A model that points elsewhere must not read files of this machine,
    # and a folder that cannot exist is how ONNX Runtime is told so.
    made.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", f"{os.devnull}/none"
    )
    return made


def session(artifact: Artifact, options: Any, providers: Sequence[Any]) -> Any:
    """An `InferenceSession` of the artifact's model, whose tensors are those of the manifest.

    Args:
        artifact: to load.
        options: see `options`.
        providers: for ONNX Runtime, which takes another one where it likes: compare afterwards.

    Raises:
        ArtifactError: the model cannot be loaded, or is not what the manifest says.
        BackendUnavailable: a provider failed.
        DeviceMemoryError: it does not fit into the GPU's memory.
    """
    where = artifact.path / MODEL
    try:
        # Without enable_fallback=0 it prints on stdout that it tries again, and does.
        made = import_onnxruntime().InferenceSession(
            artifact.read(MODEL), options, providers=providers, enable_fallback=0
        )
    except engine_errors() as error:
        _refuse(where, error)
    _check_tensors(made, artifact)
    return made


def _refuse(where: object, error: Exception) -> NoReturn:
    text = str(error)
    if _NO_MEMORY.search(text):
        raise out_of_memory(f"loading {where}", error) from error
    if _NO_DEVICE.search(text):
        raise BackendUnavailable(
            f"{where}: expected ONNX Runtime to put all of it on the GPU, and it cannot ({text}); "
            "it tells why on stderr, and lenet-deploy doctor what is missing here"
        ) from error
    raise ArtifactError(f"{where}: ONNX Runtime cannot load it ({text})") from error


def failed(doing: str, error: Exception) -> DeployError:
    """What a failed run raises."""
    if _NO_MEMORY.search(str(error)):
        return out_of_memory(doing, error)
    return DeployError(f"{doing} failed: {error}")


def out_of_memory(doing: str, error: Exception) -> DeviceMemoryError:
    """What running out of device memory raises."""
    return DeviceMemoryError(
        f"{doing}: the GPU has too little free memory ({error}); use smaller batches, or free "
        "memory of the GPU (nvidia-smi lists who has it); this session can go on"
    )


def refuse_tf32(artifact: Artifact) -> None:
    """CPUs compute float32 in full, so an artifact that asks for TF32 is not for them.

    Raises:
        BackendUnavailable: the artifact's precision is tf32.
    """
    if artifact.manifest.precision == "tf32":
        raise BackendUnavailable(
            f"{artifact.path}: precision 'tf32' is computed by NVIDIA GPUs alone, and 'ort-cpu' "
            "runs on the CPU; load it with device='cuda', or export with --precision fp32"
        )


def _check_tensors(session: Any, artifact: Artifact) -> None:
    """Refuse a model whose inputs and outputs are not those of the manifest."""
    manifest = artifact.manifest
    for specs, found in (
        (manifest.inputs, session.get_inputs()),
        (manifest.outputs, session.get_outputs()),
    ):
        expected = [(spec.name, "tensor(float)", list(spec.shape)) for spec in specs]
        actual = [(value.name, value.type, _sizes(value.shape)) for value in found]
        if actual != expected:
            raise ArtifactError(
                f"{artifact.path / MODEL}: expected {expected} as the manifest says, "
                f"found {actual}; export it again"
            )


def _sizes(shape: list[int | str | None]) -> list[int | None]:
    """`shape` as a manifest has it: None for a dimension with a symbol."""
    return [size if isinstance(size, int) else None for size in shape]


def engine_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime's C++ side raises; its own share no base class but Exception.

    A ValueError is C++'s for an option that is no number; or, of its kind, UnicodeDecodeError, in
    place of an error that quotes names of a damaged model.
    """
    state = import_onnxruntime().capi.onnxruntime_pybind11_state
    kinds = [k for k in vars(state).values() if isinstance(k, type) and issubclass(k, Exception)]
    return (*kinds, RuntimeError, ValueError)
