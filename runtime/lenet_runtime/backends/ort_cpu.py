"""``ort-cpu``: ONNX artifacts on ONNX Runtime's CPU provider."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.artifact import Artifact
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeployError

PROVIDERS = ["CPUExecutionProvider"]


def probe(device: str) -> str:
    """ONNX Runtime's version; see `lenet_runtime.backends.Backend.probe`."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailable(
            f"ONNX Runtime cannot be imported ({error}); pip install 'lenet-deploy[cpu]'"
        ) from error
    version: str = onnxruntime.__version__
    return version


class OrtCpu:
    """One `onnxruntime.InferenceSession`, which any number of threads may run at once."""

    def __init__(self, artifact: Artifact, threads: int | None) -> None:
        import onnxruntime

        self._errors = _engine_errors()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 4  # fatal; everything else reaches us as an exception
        # Weights are embedded. A model that points elsewhere must not read files of this machine,
        # and a folder that cannot exist is how ONNX Runtime is told so.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", f"{os.devnull}/none"
        )
        try:
            # Without enable_fallback=0 it prints on stdout that it tries again, and does.
            session = onnxruntime.InferenceSession(
                artifact.read("model.onnx"), options, providers=PROVIDERS, enable_fallback=0
            )
        except self._errors as error:
            raise ArtifactError(
                f"{artifact.path / 'model.onnx'}: ONNX Runtime cannot load it ({error})"
            ) from error
        if session.get_providers() != PROVIDERS:
            raise BackendUnavailable(f"expected {PROVIDERS}, found {session.get_providers()}")
        _check_tensors(session, artifact)
        # `InferenceSession.run` validates names again and would fall back to another provider
        # on failure; the C++ session underneath does neither and saves 2 us a call.
        self._run = session._sess.run
        # Where none is given, each call makes one (1 us). It is only read, so calls share it.
        self._options = onnxruntime.RunOptions()
        self._input = artifact.manifest.inputs[0].name
        self._outputs = [artifact.manifest.outputs[0].name]

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        try:
            logits: NDArray[np.float32] = self._run(
                self._outputs, {self._input: images}, self._options
            )[0]
        except self._errors as error:
            raise DeployError(f"ort-cpu failed on {images.shape}: {error}") from error
        return logits

    def close(self) -> None:
        """Drop the session; a run that is under way in another thread keeps it alive until done."""
        self._run = _closed


def load(artifact: Artifact, device: str, threads: int | None) -> OrtCpu:
    """See `lenet_runtime.backends.Backend.load`."""
    return OrtCpu(artifact, threads)


def starts(artifact: Artifact) -> tuple[int, ...]:
    """One graph for every batch size; see `lenet_runtime.backends.Backend.starts`."""
    return (artifact.manifest.batch_size or 1,)


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
                f"{artifact.path / 'model.onnx'}: expected {expected} as the manifest says, "
                f"found {actual}; export it again"
            )


def _sizes(shape: list[int | str | None]) -> list[int | None]:
    """`shape` as a manifest has it: None for a dimension with a symbol."""
    return [size if isinstance(size, int) else None for size in shape]


def _closed(*_: Any) -> Any:
    raise DeployError("this session is closed; load the artifact again")


def _engine_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime's C++ side raises; its own share no base class but Exception.

    UnicodeDecodeError comes in place of an error that quotes names of a damaged model.
    """
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds = [k for k in vars(state).values() if isinstance(k, type) and issubclass(k, Exception)]
    return (*kinds, RuntimeError, UnicodeDecodeError)
