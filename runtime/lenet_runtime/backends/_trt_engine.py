"""A loaded TensorRT engine: the library that has it, what it says, and contexts to run it with."""

import collections
import functools
import importlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_runtime.artifact import IMAGES, LOGITS, Manifest
from lenet_runtime.backends import _trt_layers
from lenet_runtime.backends._trt import MODULES, TITLES, Profile
from lenet_runtime.errors import (
    ArtifactError,
    BackendUnavailable,
    DeployError,
    DeviceMemoryError,
)

_LAST_ERRORS = 8
# TensorRT's words. Damage first: a library that has no GPU says so beside everything else it says.
_DAMAGE = ("error code 1: serialization", "magictag", "malformed", "empty memory buffer")
_NO_MEMORY = ("out of memory", "outofmemory")
_NO_CUDA = ("cudaerror", "cuda runtime", "cuda initialization")


class Library:
    """TensorRT or TensorRT-RTX, imported once a process.

    Attributes:
        name: a key of `MODULES`.
        trt: its module.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.trt: Any = importlib.import_module(MODULES[name])
        self._lock = threading.Lock()
        self._errors: collections.deque[str] = collections.deque(maxlen=_LAST_ERRORS)
        # A process has one logger, the first that it names; so this one is for all engines.
        self._logger = self._make_logger()
        self._runtime: Any = None

    @property
    def title(self) -> str:
        """Its name and version, for messages."""
        return f"{TITLES[self.name]} {self.trt.__version__}"

    def _make_logger(self) -> Any:
        trt, errors = self.trt, self._errors

        class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)  # pybind11 asks for it by name

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                    errors.append(message.strip())

        return Logger()

    def deserialize(self, data: bytes, where: Path) -> Any:
        """The engine of these bytes.

        Raises:
            ArtifactError: they are none of this library's.
            BackendUnavailable: CUDA cannot be used.
            DeviceMemoryError: the GPU has too little free memory.
        """
        with self._lock:
            self.words()
            if self._runtime is None:
                self._runtime = self.trt.Runtime(self._logger)
            engine = self._runtime.deserialize_cuda_engine(data)
            words = self.words()
        if engine is not None:
            return engine
        message = f"{where}: {self.title} cannot load it ({words})"
        if _says(words, _NO_MEMORY):
            raise DeviceMemoryError(f"{message}; free memory of the GPU (nvidia-smi lists it)")
        if _says(words, _DAMAGE) or not _says(words, _NO_CUDA):
            raise ArtifactError(f"{message}; export it again")
        raise BackendUnavailable(
            f"{message}; an engine is loaded onto a GPU: check the driver with nvidia-smi"
        )

    def words(self) -> str:
        """The last errors that it told since this was last asked, oldest first."""
        told = list(dict.fromkeys(self._errors))
        self._errors.clear()
        return "; ".join(told) or "it gave no reason"

    def failure(self, doing: str) -> DeployError:
        """What a call that returned nothing means."""
        words = self.words()
        if _says(words, _NO_MEMORY):
            return DeviceMemoryError(
                f"{self.title}: {doing}: the GPU has too little free memory ({words}); use "
                "smaller batches or fewer threads"
            )
        return DeployError(f"{self.title}: {doing} failed ({words})")


def _says(words: str, any_of: Sequence[str]) -> bool:
    return any(text in words.lower() for text in any_of)


@functools.cache
def library(name: str) -> Library:
    """See `Library`.

    Raises:
        BackendUnavailable: it cannot be imported.
    """
    try:
        return Library(name)
    except Exception as error:  # its loader raises whatever it likes
        raise BackendUnavailable(
            f"{TITLES[name]} cannot be imported ({error!r}); pip install 'lenet-deploy[{name}]'"
        ) from error


class Engine:
    """One deserialized engine, checked against its manifest.

    Args:
        library: that it is for.
        data: ``model.engine``.
        manifest: of its artifact.
        where: the file, for messages.

    Raises:
        ArtifactError: see `Library.deserialize`; or its tensors, its profile or the types that it
            computes in are not those of the manifest.
    """

    def __init__(self, library: Library, data: bytes, manifest: Manifest, where: Path) -> None:
        self.library = library
        self.profile = Profile.parse(manifest.requirements.profile)
        self._engine = library.deserialize(data, where)
        found, expected = self._tensors(), _expected_tensors(manifest, self.profile)
        if found != expected:
            raise ArtifactError(
                f"{where}: expected {expected} as the manifest says, found {found}; export it again"
            )
        wrong = _trt_layers.mismatches(self.layers(), manifest.kernels)
        if wrong:
            raise ArtifactError(
                f"{where}: it computes in other types than the manifest says: {'; '.join(wrong)}; "
                "export it again"
            )
        self.scratch_bytes = int(self._engine.device_memory_size_v2)
        self._config = self._runtime_config()

    def layers(self) -> str:
        """What the engine inspector tells, one line a layer; see `_trt_layers`."""
        inspector = self._engine.create_engine_inspector()
        oneline = self.library.trt.LayerInformationFormat.ONELINE
        text: str = inspector.get_engine_information(oneline) if inspector else ""
        return text

    def _tensors(self) -> dict[str, object]:
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        found: dict[str, object] = {
            name: (engine.get_tensor_dtype(name).name, tuple(engine.get_tensor_shape(name)))
            for name in sorted(names)
        }
        if IMAGES.name in found:
            shapes = engine.get_tensor_profile_shape(IMAGES.name, 0)
            found["profile"] = str(Profile(*(next(iter(shape)) for shape in shapes)))
        return found

    def _runtime_config(self) -> Any:
        """How TensorRT-RTX finishes compiling: for each shape, before it runs, and once.

        Its default is to run general kernels at first and better ones later; a CUDA graph would
        keep the first for ever. TensorRT has compiled everything already, and no such settings.
        """
        trt = self.library.trt
        if not hasattr(trt, "DynamicShapesKernelSpecializationStrategy"):
            return None
        config = self._engine.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = (
            trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        config.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        config.set_runtime_cache(config.create_runtime_cache())
        return config

    def context(self, batch: int, images: int, logits: int, scratch: tuple[int, int]) -> Any:
        """An execution context for one batch size.

        Args:
            batch: images in it.
            images: device address of them.
            logits: device address to put them at.
            scratch: device address and bytes of memory for what is between.

        Raises:
            DeviceMemoryError: the GPU has too little free memory.
            DeployError: TensorRT makes none, in its own words.
        """
        managed = self.library.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(self._config or managed)
        if context is None:
            raise self.library.failure(f"making an execution context for {batch} images")
        context.set_device_memory(*scratch)
        if not (
            context.set_input_shape(IMAGES.name, (batch, *IMAGES.shape[1:]))
            and context.set_tensor_address(IMAGES.name, images)
            and context.set_tensor_address(LOGITS.name, logits)
        ):
            raise self.library.failure(f"preparing a batch of {batch}")
        return context


def _expected_tensors(manifest: Manifest, profile: Profile) -> dict[str, object]:
    tensors = (*manifest.inputs, *manifest.outputs)
    found: dict[str, object] = {
        spec.name: ("FLOAT", tuple(-1 if size is None else size for size in spec.shape))
        for spec in sorted(tensors, key=lambda spec: spec.name)
    }
    return found | {"profile": str(profile)}
