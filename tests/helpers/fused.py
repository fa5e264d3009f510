"""The cuda format's kernels on the CPU: what its tests share.

`Kernels` is `lenet.cu` of one precision, compiled by g++ for `tests/cuda_emulator`. Everything but
the one-line operations of `device/primitives.cuh` is the source that NVRTC compiles.
"""

import copy
import ctypes
import functools
import shutil
import subprocess
import tempfile
from ctypes import c_int, c_uint, c_uint64, c_void_p
from pathlib import Path

import numpy as np
import pytest
import torch

from lenet_export.formats.cuda import compiler, pack, programs
from lenet_export.network import layers
from lenet_runtime.images.preprocess import Preprocessing

EMULATOR = Path(__file__).parents[1] / "fakes" / "cuda_emulator"
SOURCE = Path(compiler.__file__).parent
PRECISIONS = tuple(compiler.TYPES)
NAMES = tuple(name + suffix for suffix in ("", programs.RAW) for name in programs.KERNELS)
GUARD = 64  # logits before and after those of a launch
_folder = tempfile.TemporaryDirectory(prefix="lenet-fused-")


class Failure(Exception):
    """What the emulator found wrong with a launch."""


class _Run(ctypes.Structure):
    _fields_ = [
        ("blocks", c_uint),
        ("threads", c_uint),
        ("shared_bytes", c_uint),
        ("seed", c_uint64),
        ("lost_block_barrier", c_int),
        ("lost_warp_barrier", c_int),
        ("block_barriers", c_uint),
        ("warp_barriers", c_uint),
    ]


@functools.cache
def kernels(precision):
    """`Kernels`, compiled once in a session."""
    return Kernels(precision)


class Kernels:
    """The kernels of one precision.

    Attributes:
        shapes: of each kernel: images and threads of a block, and bytes of shared memory.
        weight_bytes: that they expect.
        barriers: of the block and of a warp, that a thread of the last launch came to.
    """

    def __init__(self, precision, source=SOURCE):
        if shutil.which("g++") is None:
            pytest.skip("the emulator needs g++")
        self.precision = precision
        path = Path(tempfile.mkdtemp(dir=_folder.name)) / "lenet.so"
        flags = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
        flags += ["-shared", "-fPIC", f"-DLENET_PRECISION={compiler.TYPES[precision]}"]
        flags += [f"-I{EMULATOR}", f"-I{source}", "-o", path]
        subprocess.run(["g++", *flags, EMULATOR / "driver.cpp"], check=True)
        self.library = ctypes.CDLL(str(path))
        self.library.emulated_failure.restype = ctypes.c_char_p
        self.library.emulated_driver_failure.restype = ctypes.c_char_p
        numbers = (c_uint * (3 * len(NAMES))).in_dll(self.library, "lenet_shapes")
        self.shapes = {name: tuple(numbers[3 * i : 3 * i + 3]) for i, name in enumerate(NAMES)}
        self.weight_bytes = c_uint.in_dll(self.library, "lenet_weight_bytes").value

    def __call__(self, name, weights, images, seed=1, lost_block=-1, lost_warp=-1):
        """Logits ``(N, 10)``.

        Args:
            name: of the kernel.
            weights: `pack.pack`'s bytes.
            images: normalised or raw, as the kernel takes them.
            seed: of the order in which threads run.
            lost_block: number of a barrier of the block that nobody heeds; -1 is none.
            lost_warp: the same of the warps' barriers.

        Raises:
            Failure: a race, an access out of bounds or to what nobody wrote, or a deadlock.
        """
        per_block, threads, shared = self.shapes[name]
        count = len(images)
        given, packed = aligned(images), aligned(np.frombuffer(weights, np.uint32))
        out = np.full(count * 10 + 2 * GUARD, 12345, np.float32)
        logits = out[GUARD:-GUARD]
        run = _Run(-(-count // per_block), threads, shared, seed, lost_block, lost_warp, 0, 0)
        done = self.library[f"emulate_{name}"](
            c_void_p(given.ctypes.data),
            c_void_p(packed.ctypes.data),
            c_void_p(logits.ctypes.data),
            c_uint(count),
            ctypes.byref(run),
        )
        if not done:
            raise Failure(self.library.emulated_failure().decode())
        self.barriers = run.block_barriers, run.warp_barriers
        assert np.all(out[:GUARD] == 12345), "wrote before the logits"
        assert np.all(out[-GUARD:] == 12345), "wrote after the logits"
        return logits.reshape(count, 10).copy()


def aligned(values):
    """A copy at an address that is a multiple of 256, as the CUDA driver allocates."""
    memory = np.empty(values.nbytes + 256, np.uint8)
    start = -memory.ctypes.data % 256
    copy = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


@functools.cache
def packed(module, precision, preprocessing=Preprocessing()):  # noqa: B008  frozen
    """The bytes of ``weights.bin``."""
    return pack.pack(layers.read(module, (1, 32, 32)), precision, preprocessing)


def exact(module, images):
    """In float64."""
    with torch.inference_mode():
        return copy.deepcopy(module).double()(torch.tensor(images).double()).numpy()


def rounded(values, precision):
    """A float32 array to the nearest values of `precision`, in NumPy and PyTorch, not ours."""
    tensor = torch.tensor(values)
    if precision == "fp16":
        return tensor.clamp(-65504, 65504).half().float().numpy()
    if precision == "bf16":
        return tensor.bfloat16().float().numpy()
    if precision == "tf32":  # halves away from zero
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return values
