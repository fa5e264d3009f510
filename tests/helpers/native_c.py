"""Compiling generated C and calling it: what the tests of the native format share."""

import ctypes
import functools
import itertools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lenet_export.compiler import FLAGS as BUILD_FLAGS
from lenet_export.formats.native import PRECISIONS, generate
from lenet_export.network.quantize import calibration_batch
from lenet_export.request import Request
from lenet_runtime import cpu
from lenet_runtime.devices import Device
from lenet_runtime.images.preprocess import Preprocessing

COMPILERS = ("gcc", "clang")
LEVELS = PRECISIONS["fp32"].levels
FLAGS = (*BUILD_FLAGS, "-pedantic")
WARNINGS = ("-Wconversion", "-Wsign-conversion", "-Wshadow", "-Wundef", "-Wstrict-prototypes")
GUARD = 4096
POISON = 0xFF  # four such bytes are a NaN, which no answer survives

# Reads images from stdin and writes logits to stdout, each batch in memory of exactly its size.
DRIVER = """\
#include "lenet.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int run(const float *images, size_t batch, int show)
{
    float *x = malloc(batch * LENET_PIXELS * sizeof *x), *y = malloc(batch * LENET_LOGITS * 4);
    void *workspace = malloc(lenet_workspace_size());
    if (!x || !y || !workspace)
        return 1;
    memcpy(x, images, batch * LENET_PIXELS * sizeof *x);
    memset(workspace, 0xff, lenet_workspace_size());
    int failed = lenet_run(x, y, batch, workspace) || !lenet_all_finite(x, batch);
    if (show)
        failed |= fwrite(y, LENET_LOGITS * sizeof *y, batch, stdout) != batch;
    free(x);
    free(y);
    free(workspace);
    return failed;
}

int main(void)
{
    static float images[LENET_PIXELS * 128];
    const size_t batch = fread(images, LENET_PIXELS * sizeof *images, 128, stdin);
    for (size_t n = 1; n < batch; n += n)
        if (run(images, n, 0))
            return 1;
    return run(images, batch, 1);
}
"""


@functools.cache
def _folder():
    """Removed when the process ends; what is compiled once serves every test."""
    return tempfile.TemporaryDirectory(prefix="lenet-native-")


def new_folder():
    return Path(tempfile.mkdtemp(dir=_folder().name))


def need(tool):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not on PATH")


def need_level(level):
    """Skip where this CPU would choose lower kernels than `level`."""
    if level not in levels_here():
        pytest.skip(f"this CPU has {cpu.level()}, not {level}")


@functools.cache
def calibration():
    return calibration_batch("int8", None, Preprocessing(), (1, 32, 32))


def request(module, level="x86-64-v4", precision="fp32", **options):
    """What `generate` and `build` take; int8 is calibrated with the bundled digits."""
    return Request(module, "native", precision, Device("cpu"), options={"isa": level} | options)


def sources_of(module, *arguments, **options):
    """lenet.c and lenet.h; for the arguments see `request`."""
    return generate(request(module, *arguments, **options))


def write(sources):
    """A new folder with these files."""
    folder = new_folder()
    for name, text in sources.items():
        (folder / name).write_text(text)
    return folder


def shell(*command, cwd=None, **options):
    """Run a command, which must succeed without a word of complaint; returns its stdout."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, check=False, **options)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode(errors="replace")
    return done.stdout


def drive(command, images, cwd):
    """Logits of a program made of `DRIVER`."""
    out = shell(*command, cwd=cwd, input=images.tobytes())
    return np.frombuffer(out, np.float32).reshape(-1, 10)


def compiled(sources, compiler, *flags):
    """A `Library` of these files."""
    need(compiler)
    folder = write(sources)
    shell(compiler, *FLAGS, *flags, "-shared", "-o", "lenet.so", "lenet.c", cwd=folder)
    return Library(folder / "lenet.so")


@functools.cache
def library(module, compiler, level, *flags, precision="fp32"):
    """A `Library` of `module`, compiled once in a session."""
    if precision == "fp32":
        need_level(level)
    return compiled(sources_of(module, level, precision), compiler, *flags)


def any_compiler():
    for compiler in COMPILERS:
        if shutil.which(compiler):
            return compiler
    return pytest.skip(f"none of {', '.join(COMPILERS)} is on PATH")


def levels_here():
    """The levels that this CPU runs."""
    levels = list(LEVELS)
    return levels[levels.index(cpu.level()) if cpu.level() in levels else -1 :]


class Library:
    """lenet.so by ctypes; every run is in poisoned memory between guards."""

    def __init__(self, path):
        self.c = ctypes.CDLL(str(path))
        self.c.lenet_workspace_size.restype = ctypes.c_size_t
        self.c.lenet_isa.restype = ctypes.c_char_p
        self.isa = self.c.lenet_isa().decode()

    def run(self, images, shift=0, function="lenet_run", code=0):
        """Logits of a function, which must return `code`.

        The workspace begins `shift` bytes behind the start of a cache line.
        """
        size, count = self.c.lenet_workspace_size(), len(images)
        memory = np.full(size + 3 * GUARD, POISON, np.uint8)
        start = GUARD + -memory.ctypes.data % 64 + shift
        out = np.full((count + 2, 10), 12345, np.float32)
        before = images.tobytes()
        assert self.call(images, out[1:], count, memory[start:], function) == code
        assert np.all(memory[:start] == POISON), "wrote before the workspace"
        assert np.all(memory[start + size :] == POISON), "wrote behind the workspace"
        assert np.all(out[[0, -1]] == 12345), "wrote around the logits"
        assert images.tobytes() == before, "wrote into the images"
        return out[1:-1].copy()

    def call(self, images, logits, batch, workspace, function="lenet_run"):
        """The code that a function returns for arrays, or None for NULL."""
        pointers = [
            None if a is None else ctypes.c_void_p(a.ctypes.data)
            for a in (images, logits, workspace)
        ]
        return self.c[function](*pointers[:2], ctypes.c_size_t(batch), pointers[2])

    def all_finite(self, images):
        return self.c.lenet_all_finite(
            ctypes.c_void_p(images.ctypes.data), ctypes.c_size_t(len(images))
        )


def sequential(first=6, second=16, widths=(120, 84), bias=True):
    """LeNet's chain with other numbers."""
    sizes = (second * 36, *widths, 10)
    dense = [nn.Linear(a, b, bias=bias) for a, b in itertools.pairwise(sizes)]
    parts = [
        nn.Conv2d(1, first, 3, bias=bias), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, bias=bias), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), dense[0],
    ]  # fmt: skip
    for layer in dense[1:]:
        parts += [nn.ReLU(), layer]
    return nn.Sequential(*parts)


def seeded(make, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().eval().requires_grad_(False)


def other_net(first, second, *widths):
    """An untrained network of LeNet's kind with these sizes."""
    return seeded(lambda: sequential(first, second, widths), seed=3)
