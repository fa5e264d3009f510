"""The objects that a `Context` makes: memory, streams, graphs, events and kernels."""

import ctypes
from collections.abc import Callable
from ctypes import byref, c_float, c_void_p
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.cuda.driver import check, library
from lenet_runtime.errors import DeployError

if TYPE_CHECKING:
    from lenet_runtime.cuda import Context

_MAX_DYNAMIC_SHARED = 8  # CUfunction_attribute of cuda.h
_NOT_READY = 600  # CUDA_ERROR_NOT_READY
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile


class Buffer:
    """Device memory: `nbytes` at `pointer`."""

    def __init__(self, context: "Context", pointer: int, nbytes: int) -> None:
        self.pointer, self.nbytes = pointer, nbytes
        driver = library()
        self.close = context._own(lambda: driver.cuMemFree_v2(pointer))

    def write(self, data: bytes) -> None:
        """Copy `data` to the beginning of this memory, and return once it is there."""
        if len(data) > self.nbytes:
            raise ValueError(f"expected at most {self.nbytes} bytes, found {len(data)}")
        check(library().cuMemcpyHtoD_v2(self.pointer, data, len(data)), "copying to the GPU")
        # The driver puts memory aside that is not pinned, returns, and copies it on its default
        # stream, which our own streams do not wait for.
        check(library().cuStreamSynchronize(None), "copying to the GPU")

    def copy_from(self, source: "Buffer", nbytes: int, stream: int) -> None:
        """Queue a copy from `source`, within the GPU; `stream` is the handle of any stream."""
        code = library().cuMemcpyDtoDAsync_v2(self.pointer, source.pointer, nbytes, stream)
        check(code, f"copying {nbytes} bytes within the GPU")


class PinnedBuffer:
    """Page-locked host memory: `nbytes` at `pointer`.

    `array` shows this memory as uint8 ``(nbytes,)`` and must not be used after `close`.
    """

    def __init__(self, context: "Context", pointer: int, nbytes: int) -> None:
        self.pointer, self.nbytes = pointer, nbytes
        kind = ctypes.c_uint8 * nbytes
        self.array: NDArray[np.uint8] = np.ctypeslib.as_array(kind.from_address(pointer))
        driver = library()
        self.close = context._own(lambda: driver.cuMemFreeHost(pointer))


class Stream:
    """A queue of work that the GPU does in order."""

    def __init__(self, context: "Context", handle: c_void_p) -> None:
        self._context, self._driver, self._handle = context, library(), handle
        self.handle = int(handle.value or 0)
        self.close = context._own(lambda: self._driver.cuStreamDestroy_v2(handle))

    def upload(self, target: int, source: int, nbytes: int) -> None:
        """Queue a copy from the host address `source` to the device address `target`."""
        code = self._driver.cuMemcpyHtoDAsync_v2(target, source, nbytes, self._handle)
        if code:
            check(code, f"copying {nbytes} bytes to the GPU")

    def download(self, target: int, source: int, nbytes: int) -> None:
        """Queue a copy from the device address `source` to the host address `target`."""
        code = self._driver.cuMemcpyDtoHAsync_v2(target, source, nbytes, self._handle)
        if code:
            check(code, f"copying {nbytes} bytes from the GPU")

    def wait(self, event: "Event") -> None:
        """Let the work that is queued from now on wait for `event`."""
        code = self._driver.cuStreamWaitEvent(self._handle, event._handle, 0)
        check(code, "waiting for a stream")

    def synchronize(self) -> None:
        """Return once all work on this stream is done.

        Raises:
            DeployError: some of the work failed.
        """
        check(self._driver.cuStreamSynchronize(self._handle), "the work on the GPU")

    def capture(self, work: Callable[[], None]) -> "Graph":
        """Record as a graph, without running it, what `work` queues on this stream.

        Raises:
            DeployError: `work` does something that cannot be captured. What `work` itself raises
                is raised as it is.
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
    """Captured work, which one call queues on a stream."""

    def __init__(self, context: "Context", handle: c_void_p) -> None:
        self._driver, self._handle = library(), handle
        self.close = context._own(lambda: self._driver.cuGraphExecDestroy(handle))

    def launch(self, stream: Stream) -> None:
        """Queue the whole graph on `stream`; it must not be running already."""
        check(self._driver.cuGraphLaunch(self._handle, stream._handle), "launching a graph")


class Event:
    """A point in the work of a stream."""

    def __init__(self, context: "Context", handle: c_void_p) -> None:
        self._driver, self._handle = library(), handle
        self.close = context._own(lambda: self._driver.cuEventDestroy_v2(handle))

    def record(self, stream: int) -> None:
        """Let the event happen once a stream, given by its handle, has done its work so far."""
        check(self._driver.cuEventRecord(self._handle, stream), "recording an event")

    def synchronize(self) -> None:
        """Return once the event has happened."""
        check(self._driver.cuEventSynchronize(self._handle), "the work on the GPU")

    def happened(self) -> bool:
        """Whether the event has happened; does not wait."""
        code = self._driver.cuEventQuery(self._handle)
        if code != _NOT_READY:
            check(code, "the work on the GPU")
        return bool(code != _NOT_READY)

    def microseconds_since(self, earlier: "Event") -> float:
        """GPU time between two events that have happened, with a resolution of about 0.5 us."""
        result = c_float()
        code = self._driver.cuEventElapsedTime(byref(result), earlier._handle, self._handle)
        check(code, "reading a time")
        return result.value * 1e3


class Arguments:
    """The arguments of a kernel, as ctypes values, which may be changed between launches."""

    def __init__(self, *values: Any) -> None:
        self.values = values
        self.array = (c_void_p * len(values))(*(ctypes.addressof(value) for value in values))


class Function:
    """A kernel."""

    def __init__(self, context: "Context", handle: c_void_p, name: str) -> None:
        self.name = name
        self._driver, self._handle, self._limit = library(), handle, context.gpu.shared_bytes

    def allow_shared(self, nbytes: int) -> None:
        """Allow this kernel `nbytes` of dynamic shared memory in a block.

        Raises:
            DeployError: a block on this GPU cannot have that much.
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
        """Queue this kernel: `blocks` of `threads`, each block with `shared` bytes of memory."""
        code = self._driver.cuLaunchKernel(
            self._handle, blocks, 1, 1, threads, 1, 1, shared, stream._handle,
            arguments.array, None,
        )  # fmt: skip
        if code:
            check(code, f"launching the kernel {self.name!r}")
