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
import itertools
from collections.abc import Callable, Sequence
from ctypes import byref, c_int, c_size_t, c_ulonglong, c_void_p
from typing import Any

from lenet_runtime.cuda.driver import check, describe, library
from lenet_runtime.cuda.gpus import Gpu, count, gpu, gpus
from lenet_runtime.cuda.objects import (
    Arguments,
    Buffer,
    Event,
    Function,
    Graph,
    PinnedBuffer,
    Stream,
)
from lenet_runtime.errors import BackendUnavailable, DeployError

__all__ = [
    "Arguments", "Buffer", "Context", "Event", "Function", "Gpu", "Graph", "PinnedBuffer",
    "Stream", "count", "gpu", "gpus",
]  # fmt: skip

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream


class Context:
    """The primary context of one GPU, held until `close`.

    Args:
        index: Number of the GPU, as in ``cuda:1``.

    Raises:
        BackendUnavailable: there is no such GPU, or its context cannot be made, as on a GPU in
            exclusive mode that another process uses.
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
        self._popped = byref(c_void_p())  # the driver writes here what it popped; nobody reads it
        self._open: dict[int, Callable[[], None]] = {}
        self._numbers = itertools.count()
        self._closed = False

    def __enter__(self) -> "Context":
        code = self._driver.cuCtxPushCurrent_v2(self._handle)
        if code:  # only a failure pays for its message, here and below: a call takes 0.3 us
            check(code, f"using GPU {self.gpu.index}")
        return self

    def __exit__(self, *error: object) -> None:
        self._driver.cuCtxPopCurrent_v2(self._popped)

    def close(self) -> None:
        """Free everything that was made in this context; a second call does nothing."""
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
        """Device memory that is not in use, in bytes."""
        free, total = c_size_t(), c_size_t()
        check(self._driver.cuMemGetInfo_v2(byref(free), byref(total)), "reading the free memory")
        return free.value

    def allocate(self, nbytes: int) -> Buffer:
        """Allocate `nbytes` of device memory; its content is undefined.

        Raises:
            DeviceMemoryError: the GPU has too little free memory.
        """
        pointer = c_ulonglong()
        code = self._driver.cuMemAlloc_v2(byref(pointer), nbytes)
        check(code, f"allocating {nbytes} bytes on GPU {self.gpu.index}")
        return Buffer(self, pointer.value, nbytes)

    def pinned(self, nbytes: int) -> PinnedBuffer:
        """Allocate `nbytes` of page-locked host memory, which the GPU copies without the CPU.

        Raises:
            DeviceMemoryError: the host has too little free memory.
        """
        pointer = c_void_p()
        code = self._driver.cuMemHostAlloc(byref(pointer), nbytes, 0)
        check(code, f"allocating {nbytes} bytes of pinned host memory")
        return PinnedBuffer(self, int(pointer.value or 0), nbytes)

    def stream(self) -> Stream:
        """Make a stream that waits for no other."""
        handle = c_void_p()
        check(self._driver.cuStreamCreate(byref(handle), _NON_BLOCKING), "making a stream")
        return Stream(self, handle)

    def event(self) -> Event:
        """Make an event that can be timed."""
        handle = c_void_p()
        check(self._driver.cuEventCreate(byref(handle), 0), "making an event")
        return Event(self, handle)

    def functions(self, code: bytes, names: Sequence[str]) -> list[Function]:
        """Load a cubin, or PTX that the driver compiles, and return its kernels by name.

        Raises:
            DeployError: the code is not for this GPU, or has no kernel of that name.
        """
        module = c_void_p()
        check(self._driver.cuModuleLoadData(byref(module), code), "loading compiled kernels")
        self._own(lambda: self._driver.cuModuleUnload(module))
        functions = []
        for name in names:
            handle = c_void_p()
            status = self._driver.cuModuleGetFunction(byref(handle), module, name.encode())
            check(status, f"finding the kernel {name!r}")
            functions.append(Function(self, handle, name))
        return functions

    def _own(self, free: Callable[[], Any]) -> Callable[[], None]:
        """Register `free` to be called once: by `close`, or by the returned function before it."""
        number = next(self._numbers)
        self._open[number] = free

        def free_now() -> None:
            if self._open.pop(number, None) is not None:
                free()

        return free_now
