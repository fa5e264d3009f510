"""A CUDA driver without a GPU: `fake_cuda/libcuda.c`, compiled once and asked by tests."""

import ctypes
import functools
import math
import subprocess
import tempfile
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).parent / "fake_cuda" / "libcuda.c"
GIB = 2**30
KERNEL = ctypes.CFUNCTYPE(
    None, ctypes.POINTER(ctypes.c_void_p), ctypes.c_uint, ctypes.c_uint, ctypes.c_uint
)
# Of the kernels of tests and fakes: the addresses of images and logits, and a number of images.
TYPES = (ctypes.c_ulonglong, ctypes.c_ulonglong, ctypes.c_uint)
_STEPS = {"u": "upload", "d": "download", "k": "kernel", "g": "graph", "s": "synchronize"}
_GRAPH_LAUNCHES, _CAPTURES = range(2)
_folder = tempfile.TemporaryDirectory(prefix="lenet-fake-cuda-")


@functools.cache
def library_path():
    path = Path(_folder.name) / "libcuda.so.1"
    subprocess.run(
        ["gcc", "-O1", "-g", "-Wall", "-shared", "-fPIC", "-pthread", SOURCE, "-o", path],
        check=True,
    )
    return path


class FakeDriver:
    """What a test tells the fake driver, and asks it.

    Args:
        devices: GPUs it pretends to have.
        memory: of each, in bytes.
        capability: compute capability of each.
    """

    def __init__(self, devices=1, memory=4 * GIB, capability=(9, 0), shared=227 * 1024):
        self._library = ctypes.CDLL(str(library_path()))
        self._library.fake_used.restype = ctypes.c_ulonglong
        self._library.fake_reset(devices, ctypes.c_ulonglong(memory), *capability, shared)
        self._kernels = {}  # by name, with their types; ctypes frees callbacks that nobody holds

    def kernel(self, name, call, types):
        """Let `call(values, blocks, threads, shared)` be the kernel `name`.

        Args:
            name: that `cuModuleGetFunction` is asked for.
            call: gets the arguments' values; pointers are addresses of host memory.
            types: the arguments' ctypes types.
        """

        def run(arguments, blocks, threads, shared):
            values = [
                ctypes.cast(arguments[i], ctypes.POINTER(kind)).contents.value
                for i, kind in enumerate(types)
            ]
            call(values, blocks, threads, shared)

        self.native_kernel(name, KERNEL(run), types)

    def native_kernel(self, name, function, types):
        """The same, of a C function ``(void **arguments, unsigned, unsigned, unsigned)``."""
        self._kernels[name] = function, types
        sizes = (ctypes.c_int * len(types))(*map(ctypes.sizeof, types))
        self._library.fake_kernel(name.encode(), function, len(types), sizes)

    def launch(self, name, stream, *values):
        """Put a kernel on a stream, as an engine does; returns the driver's code."""
        function, (_, types) = ctypes.c_void_p(), self._kernels[name]
        code = self._library.cuModuleGetFunction(ctypes.byref(function), None, name.encode())
        assert code == 0, "not inside the GPU's context"
        values = [kind(value) for kind, value in zip(types, values, strict=True)]
        array = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        stream = ctypes.c_void_p(stream)
        return self._library.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, array, None)

    def fail(self, function, code, after=0):
        """Let the driver's `function` fail with `code` from its call number `after` on."""
        self._library.fake_fail(function.encode(), after, code)

    def heal(self):
        self._library.fake_fail(b"", 0, 0)

    @property
    def graph_launches(self):
        return self._library.fake_count(_GRAPH_LAUNCHES)

    @property
    def captures(self):
        return self._library.fake_count(_CAPTURES)

    @property
    def capturing(self):
        """Whether this thread captures a stream."""
        return bool(self._library.fake_capturing())

    def steps(self):
        """What was put on streams, and waited for, since this was last asked."""
        letters = ctypes.create_string_buffer(1024)
        self._library.fake_steps(letters)
        return [_STEPS[letter] for letter in letters.value.decode()]

    @property
    def used(self):
        """Bytes of device memory."""
        return self._library.fake_used()

    @property
    def live(self):
        """Contexts, allocations, modules, streams, graphs and events that nobody freed."""
        return self._library.fake_live()

    @property
    def depth(self):
        """Contexts on this thread's stack."""
        return self._library.fake_depth()


def floats(pointer, *shape):
    """The float32 array of this shape that lies at an address."""
    values = (ctypes.c_float * math.prod(shape)).from_address(pointer)
    return np.ctypeslib.as_array(values).reshape(shape)


def on_images(compute):
    """The kernel, of `TYPES`, that `compute` is for arrays: images ``(N, 1, 32, 32)`` to logits."""

    def kernel(values, blocks, threads, shared):
        images, logits, count = values
        floats(logits, count, 10)[:] = compute(floats(images, count, 1, 32, 32))

    return kernel
