"""A thin layer over the CUDA driver: GPUs, memory, streams, graphs, kernels and events.

    with Context(0) as context:
        stream = context.stream()
        memory = context.allocate(4096)

Everything belongs to a `Context` and is freed with it. A thread that uses these objects must be
inside ``with context:`` (it pushes the GPU's primary context, which PyTorch and ONNX Runtime share,
and pops it afterwards, so that the caller's own current GPU stays). Objects may be used by one
thread at a time; different threads may use different objects.
"""

import contextlib
import ctypes
import itertools
from collections.abc import Callable, Sequence
from ctypes import byref, c_float, c_int, c_size_t, c_ulonglong, c_void_p
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.cuda.driver import check, describe, library
from lenet_runtime.errors import BackendUnavailable, DeployError

__all__ = [
    "Arguments", "Buffer", "Context", "Event", "Function", "Gpu", "Graph", "PinnedBuffer",
    "Stream", "count", "gpu", "gpus",
]  # fmt: skip

# CUdevice_attribute and CUfunction_attribute of cuda.h
_MULTIPROCESSORS, _MAJOR, _MINOR, _SHARED_OPTIN = 16, 75, 76, 97
_MAX_DYNAMIC_SHARED = 8
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream
_NOT_READY = 600  # CUDA_ERROR_NOT_READY
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        index: its number, as in ``cuda:1``.
        name: the driver's name of it.
        uuid: unlike those of all other GPUs.
        compute_capability: ``9.0``.
        memory_bytes: of device memory, in all.
        multiprocessors: how many.
        shared_bytes: of shared memory that one block may have.
        driver: the CUDA version of the driver, ``13.0``.
    """

    index: int
    name: str
    uuid: str
    compute_capability: str
    memory_bytes: int
    multiprocessors: int
    shared_bytes: int
    driver: str


def count() -> int:
    """How many GPUs CUDA sees; at least one.

    Raises:
        BackendUnavailable: none, and why.
    """
    driver, number = library(), c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(byref(number))
    if code:
        raise BackendUnavailable(f"CUDA cannot be used here: {describe(code)}")
    if not number.value:
        raise BackendUnavailable(f"CUDA cannot be used here: {describe(100)}")
    return number.value


def gpu(index: int) -> Gpu:
    """What the GPU of this number is; nothing is allocated on it.

    Raises:
        BackendUnavailable: there is none of this number; says which there are.
    """
    number = count()
    if not 0 <= index < number:
        names = ", ".join(f"cuda:{i} ({gpu(i).name})" for i in range(number))
        raise BackendUnavailable(f"device: no 'cuda:{index}' on this machine, which has {names}")
    try:
        return _describe_gpu(index)
    except DeployError as error:
        raise BackendUnavailable(str(error)) from error


def _describe_gpu(index: int) -> Gpu:
    driver, device, version, memory = library(), c_int(), c_int(), c_size_t()
    name, uuid = ctypes.create_string_buffer(256), ctypes.create_string_buffer(16)
    check(driver.cuDeviceGet(byref(device), index), f"finding GPU {index}")
    check(driver.cuDeviceGetName(name, len(name), device), "reading a GPU's name")
    check(driver.cuDeviceGetUuid(uuid, device), "reading a GPU's UUID")
    check(driver.cuDeviceTotalMem_v2(byref(memory), device), "reading a GPU's memory size")
    check(driver.cuDriverGetVersion(byref(version)), "reading the driver's version")

    def attribute(number: int) -> int:
        value = c_int()
        check(driver.cuDeviceGetAttribute(byref(value), number, device), "reading a GPU's limits")
        return value.value

    return Gpu(
        index,
        name.value.decode(errors="replace"),
        uuid.raw.hex(),
        f"{attribute(_MAJOR)}.{attribute(_MINOR)}",
        memory.value,
        attribute(_MULTIPROCESSORS),
        attribute(_SHARED_OPTIN),
        f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


def gpus() -> list[Gpu]:
    """Every GPU; raises `BackendUnavailable` where there is none."""
    return [gpu(index) for index in range(count())]


class Context:
    """The primary context of one GPU, held until `close`.

    Args:
        index: of the GPU.

    Raises:
        BackendUnavailable: see `gpu`; or the context cannot be made, as on a GPU in exclusive
            mode that another process has.
    """

    def __init__(self, index: int) -> None:
        self.gpu = gpu(index)
        self._driver = library()
        device, handle = c_int(), c_void_p()
        check(self._driver.cuDeviceGet(byref(device), index), f"finding GPU {index}")
        code = self._driver.cuDevicePrimaryCtxRetain(byref(handle), device)
        if code:
            raise BackendUnavailable(f"CUDA: GPU {index} cannot be used: {describe(code)}")
        self._device, self._handle = device, handle
        self._popped = byref(c_void_p())  # where the driver tells what it popped; nobody reads it
        self._open: dict[int, Callable[[], None]] = {}
        self._numbers = itertools.count()
        self._closed = False

    def __enter__(self) -> "Context":
        code = self._driver.cuCtxPushCurrent_v2(self._handle)
        if code:  # here and below: a message is made where there is one, since calls take 0.3 us
            check(code, f"using GPU {self.gpu.index}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._driver.cuCtxPopCurrent_v2(self._popped)

    def close(self) -> None:
        """Free everything that was made in this context; twice is fine."""
        if self._closed:
            return
        self._closed = True
        try:
            # A GPU that failed refuses its context, and then frees everything with it.
            with contextlib.suppress(DeployError), self:
                while self._open:
                    self._open.popitem()[1]()
        finally:
            self._driver.cuDevicePrimaryCtxRelease_v2(self._device)

    def free_memory(self) -> int:
        """Bytes of device memory that nobody has."""
        free, total = c_size_t(), c_size_t()
        check(self._driver.cuMemGetInfo_v2(byref(free), byref(total)), "reading the free memory")
        return free.value

    def allocate(self, nbytes: int) -> "Buffer":
        """Device memory, with whatever was there before.

        Raises:
            DeviceMemoryError: there is not enough.
        """
        pointer = c_ulonglong()
        code = self._driver.cuMemAlloc_v2(byref(pointer), nbytes)
        check(code, f"allocating {nbytes} bytes on GPU {self.gpu.index}")
        return Buffer(self, pointer.value, nbytes)

    def pinned(self, nbytes: int) -> "PinnedBuffer":
        """Page-locked host memory, which the GPU copies from and to without the CPU.

        Raises:
            DeviceMemoryError: there is not enough.
        """
        pointer = c_void_p()
        code = self._driver.cuMemHostAlloc(byref(pointer), nbytes, 0)
        check(code, f"allocating {nbytes} bytes of pinned host memory")
        return PinnedBuffer(self, int(pointer.value or 0), nbytes)

    def stream(self) -> "Stream":
        """A stream that waits for no other."""
        handle = c_void_p()
        check(self._driver.cuStreamCreate(byref(handle), _NON_BLOCKING), "making a stream")
        return Stream(self, handle)

    def event(self) -> "Event":
        """An event that can be timed."""
        handle = c_void_p()
        check(self._driver.cuEventCreate(byref(handle), 0), "making an event")
        return Event(self, handle)

    def functions(self, code: bytes, names: Sequence[str]) -> "list[Function]":
        """Load a cubin, or PTX for the driver to compile, and find its kernels.

        Raises:
            DeployError: the code is not for this GPU, or has no such kernel.
        """
        module = c_void_p()
        check(self._driver.cuModuleLoadData(byref(module), code), "loading compiled kernels")
        self._own(lambda: self._driver.cuModuleUnload(module))
        found = []
        for name in names:
            handle = c_void_p()
            status = self._driver.cuModuleGetFunction(byref(handle), module, name.encode())
            check(status, f"finding the kernel {name!r}")
            found.append(Function(self, handle, name))
        return found

    def _own(self, free: Callable[[], Any]) -> Callable[[], None]:
        """Call `free` at `close`, or when what is returned is called, whichever comes first."""
        number = next(self._numbers)
        self._open[number] = free

        def give_back() -> None:
            if self._open.pop(number, None) is not None:
                free()

        return give_back


class Buffer:
    """Device memory: `nbytes` at `pointer`."""

    def __init__(self, context: Context, pointer: int, nbytes: int) -> None:
        self.pointer, self.nbytes = pointer, nbytes
        driver = library()
        self.close = context._own(lambda: driver.cuMemFree_v2(pointer))

    def write(self, data: bytes) -> None:
        """Copy `data` to its beginning, and wait until it is there."""
        if len(data) > self.nbytes:
            raise ValueError(f"expected at most {self.nbytes} bytes, found {len(data)}")
        check(library().cuMemcpyHtoD_v2(self.pointer, data, len(data)), "copying to the GPU")
        # The driver returns as soon as it has put memory that is not pinned aside, and our streams
        # do not wait for the default one, on which it is copied.
        check(library().cuStreamSynchronize(None), "copying to the GPU")

    def copy_from(self, source: "Buffer", nbytes: int, stream: int) -> None:
        """Begin to copy within the GPU, on the stream of this handle, anybody's in this context."""
        code = library().cuMemcpyDtoDAsync_v2(self.pointer, source.pointer, nbytes, stream)
        check(code, f"copying {nbytes} bytes within the GPU")


class PinnedBuffer:
    """Page-locked host memory: `nbytes` at `pointer`; `array` is it, as uint8 ``(nbytes,)``.

    The array must not be used after `close`.
    """

    def __init__(self, context: Context, pointer: int, nbytes: int) -> None:
        self.pointer, self.nbytes = pointer, nbytes
        kind = ctypes.c_uint8 * nbytes
        self.array: NDArray[np.uint8] = np.ctypeslib.as_array(kind.from_address(pointer))
        driver = library()
        self.close = context._own(lambda: driver.cuMemFreeHost(pointer))


class Stream:
    """Work that the GPU does in order."""

    def __init__(self, context: Context, handle: c_void_p) -> None:
        self._context, self._driver, self._handle = context, library(), handle
        self.handle = int(handle.value or 0)
        self.close = context._own(lambda: self._driver.cuStreamDestroy_v2(handle))

    def upload(self, target: int, source: int, nbytes: int) -> None:
        """Begin to copy from the host address `source` to the device address `target`."""
        code = self._driver.cuMemcpyHtoDAsync_v2(target, source, nbytes, self._handle)
        if code:
            check(code, f"copying {nbytes} bytes to the GPU")

    def download(self, target: int, source: int, nbytes: int) -> None:
        """Begin to copy from the device address `source` to the host address `target`."""
        code = self._driver.cuMemcpyDtoHAsync_v2(target, source, nbytes, self._handle)
        if code:
            check(code, f"copying {nbytes} bytes from the GPU")

    def wait(self, event: "Event") -> None:
        """Let what follows on this stream wait for `event`."""
        check(
            self._driver.cuStreamWaitEvent(self._handle, event._handle, 0), "waiting for a stream"
        )

    def synchronize(self) -> None:
        """Return once everything on this stream is done.

        Raises:
            DeployError: something on it failed.
        """
        check(self._driver.cuStreamSynchronize(self._handle), "the work on the GPU")

    def capture(self, work: Callable[[], None]) -> "Graph":
        """Record what `work` puts on this stream, without running it, as a graph.

        Raises:
            DeployError: `work` does what cannot be captured; whatever it raised itself.
        """
        code = self._driver.cuStreamBeginCapture_v2(self._handle, _THREAD_LOCAL)
        check(code, "beginning to capture a graph")
        graph, handle = c_void_p(), c_void_p()
        try:
            try:
                work()
            finally:  # a stream that is left capturing can do nothing else
                code = self._driver.cuStreamEndCapture(self._handle, byref(graph))
            check(code, "capturing a graph")
            code = self._driver.cuGraphInstantiateWithFlags(byref(handle), graph, 0)
            check(code, "making a graph ready to run")
        finally:
            if graph:
                self._driver.cuGraphDestroy(graph)
        return Graph(self._context, handle)


class Graph:
    """Captured work, put on a stream by one call."""

    def __init__(self, context: Context, handle: c_void_p) -> None:
        self._driver, self._handle = library(), handle
        self.close = context._own(lambda: self._driver.cuGraphExecDestroy(handle))

    def launch(self, stream: Stream) -> None:
        """Put all of it on `stream`; it must not be running already."""
        check(self._driver.cuGraphLaunch(self._handle, stream._handle), "launching a graph")


class Event:
    """A point in the work of a stream."""

    def __init__(self, context: Context, handle: c_void_p) -> None:
        self._driver, self._handle = library(), handle
        self.close = context._own(lambda: self._driver.cuEventDestroy_v2(handle))

    def record(self, stream: int) -> None:
        """Happen when the stream of this handle, anybody's in this context, gets here."""
        check(self._driver.cuEventRecord(self._handle, stream), "recording an event")

    def synchronize(self) -> None:
        """Return once it has happened."""
        check(self._driver.cuEventSynchronize(self._handle), "the work on the GPU")

    def happened(self) -> bool:
        """Whether it has; does not wait."""
        code = self._driver.cuEventQuery(self._handle)
        if code != _NOT_READY:
            check(code, "the work on the GPU")
        return bool(code != _NOT_READY)

    def microseconds_since(self, earlier: "Event") -> float:
        """Time on the GPU between two events that have happened; resolution about 0.5 us."""
        result = c_float()
        code = self._driver.cuEventElapsedTime(byref(result), earlier._handle, self._handle)
        check(code, "reading a time")
        return result.value * 1e3


class Arguments:
    """A kernel's arguments, each a ctypes value; they may be changed between launches."""

    def __init__(self, *values: Any) -> None:
        self.values = values
        self.array = (c_void_p * len(values))(*(ctypes.addressof(value) for value in values))


class Function:
    """A kernel."""

    def __init__(self, context: Context, handle: c_void_p, name: str) -> None:
        self.name = name
        self._driver, self._handle, self._limit = library(), handle, context.gpu.shared_bytes

    def allow_shared(self, nbytes: int) -> None:
        """Let it have this much dynamic shared memory in a block.

        Raises:
            DeployError: the GPU has less.
        """
        if nbytes > self._limit:
            raise DeployError(
                f"CUDA: the kernel {self.name!r} needs {nbytes} bytes of shared memory in a "
                f"block, this GPU has {self._limit}"
            )
        code = self._driver.cuFuncSetAttribute(self._handle, _MAX_DYNAMIC_SHARED, nbytes)
        check(code, f"giving {nbytes} bytes of shared memory to {self.name!r}")

    def launch(
        self, stream: Stream, arguments: Arguments, *, blocks: int, threads: int, shared: int = 0
    ) -> None:
        """Put it on `stream`: `blocks` of `threads`, each with `shared` bytes of shared memory."""
        code = self._driver.cuLaunchKernel(
            self._handle, blocks, 1, 1, threads, 1, 1, shared, stream._handle,
            arguments.array, None,
        )  # fmt: skip
        if code:
            check(code, f"launching the kernel {self.name!r}")
