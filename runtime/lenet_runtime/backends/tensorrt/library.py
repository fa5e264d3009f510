"""TensorRT or TensorRT-RTX in this process: imported once, with a runtime, and what it says."""

import collections
import functools
import importlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_runtime.backends.tensorrt.core import MODULES, TITLES
from lenet_runtime.errors import (
    ArtifactError,
    BackendUnavailable,
    DeployError,
    DeviceMemoryError,
)
from lenet_runtime.version import pip_install

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
        self._runtime = _make_runtime(self.trt, self._errors)

    @property
    def title(self) -> str:
        """Its name and version, for messages."""
        return f"{TITLES[self.name]} {self.trt.__version__}"

    def deserialize(self, data: bytes, where: Path) -> Any:
        """The engine of these bytes.

        Raises:
            ArtifactError: they are none of this library's.
            BackendUnavailable: CUDA cannot be used.
            DeviceMemoryError: the GPU has too little free memory.
        """
        with self._lock:
            self.words()
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


def _make_runtime(trt: Any, errors: collections.deque[str]) -> Any:
    """A runtime that tells `errors` what goes wrong, in it and in its engines.

    A recorder of its own, because a process has one logger, the first that anybody names.
    """

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 asks for it by name

        def log(self, severity: Any, message: str) -> None:
            pass

    class Recorder(trt.IErrorRecorder):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)

        def report_error(self, code: Any, message: str) -> bool:
            errors.append(message.strip())
            return False  # nothing of it is fatal

        def clear(self) -> bool:
            errors.clear()
            return True

        def num_errors(self) -> int:
            return len(errors)

        def get_error_code(self, index: int) -> Any:
            return trt.ErrorCodeTRT.UNSPECIFIED_ERROR

        def get_error_desc(self, index: int) -> str:
            return errors[index]

        def has_overflowed(self) -> bool:
            return False

    runtime = trt.Runtime(Logger())
    runtime.error_recorder = Recorder()
    return runtime


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
            f"{TITLES[name]} cannot be imported ({error!r}); {pip_install(name)}"
        ) from error
