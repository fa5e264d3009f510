"""Native artifacts without a network: the real wrapper round a stand-in for ``lenet.c``."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from artifact_files import write_artifact
from samples import noise

import lenet_export
import lenet_runtime
from lenet_runtime.artifact import golden

WRAPPER = Path(lenet_export.__file__).parent / "formats" / "native" / "c" / "python_module.c"
HEADER = """
#include <stddef.h>
#define LENET_OK 0
#define LENET_ERROR_NOT_FINITE 2
#define LENET_PIXELS 1024
#define LENET_LOGITS 10
size_t lenet_workspace_size(void);
int lenet_run(const float *images, float *logits, size_t batch, void *workspace);
int lenet_run_finite(const float *images, float *logits, size_t batch, void *workspace);
const char *lenet_isa(void);
extern const char lenet_version[], lenet_weights_sha256[];
"""
SANITIZED = "LENET_SANITIZED_LIBRARY"  # set where tests run themselves under AddressSanitizer
# Logits are SCALE times the first ten pixels. An image whose pixel 10 is GATE says on descriptor
# pixel 11 that it is being computed, and waits for a byte on descriptor pixel 12.
GATE, FAIL = 12345.0, 54321.0
STAND_IN = """
#include <math.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include "lenet.h"
const char lenet_version[] = "1.2.3", lenet_weights_sha256[] = WEIGHTS;
const char *lenet_isa(void) { return "generic"; }
size_t lenet_workspace_size(void) { return WORKSPACE; }
static int wait(int here, int go)
{
    struct pollfd gate = {.fd = go, .events = POLLIN};
    char byte = 0;
    if (write(here, &byte, 1) != 1 || poll(&gate, 1, 30000) != 1 || read(go, &byte, 1) != 1)
        return 3;
    return 0;
}
int lenet_run(const float *images, float *logits, size_t batch, void *workspace)
{
    unsigned char *const bytes = workspace;
    const unsigned char mark = (unsigned char)((uintptr_t)logits >> 4 | 1);
    int code = 0;
    if ((uintptr_t)workspace % 64 != 0)
        return 1;
    memset(bytes, mark, WORKSPACE);
    for (size_t i = 0; i < batch; i++) {
        const float *const image = images + 1024 * i;
        for (int k = 0; k < 10; k++)
            logits[10 * i + k] = SCALE * image[k];
        if (image[10] == FAIL)
            return 5;
        if (image[10] == GATE)
            code |= wait((int)image[11], (int)image[12]);
    }
    for (size_t i = 0; i < WORKSPACE; i++)
        if (bytes[i] != mark)
            return 4;  /* another call has it, too */
    return code;
}
int lenet_run_finite(const float *images, float *logits, size_t batch, void *workspace)
{
    for (size_t i = 0; i < batch * 1024; i++)
        if (!isfinite(images[i]))
            return LENET_ERROR_NOT_FINITE;
    return lenet_run(images, logits, batch, workspace);
}
"""
SETTINGS = {
    "SCALE": "1.0f",
    "WORKSPACE": "4100",
    "WEIGHTS": '"' + "0" * 64 + '"',
    "GATE": f"{GATE}f",
    "FAIL": f"{FAIL}f",
}


def compiler():
    """The C compiler; skips the test without one or without Python's headers."""
    found = shutil.which(os.environ.get("CC", "cc"))
    if found is None:
        pytest.skip("no C compiler on PATH")
    if not (include() / "Python.h").is_file():
        pytest.skip(f"no Python.h in {include()}")
    return found


def include():
    return Path(sysconfig.get_path("include"))


def compile_library(folder, *flags, source=STAND_IN, wrapper=None, cc=None, **settings):
    """The bytes of ``lenet.so``; `settings` replace those of SETTINGS."""
    cc = cc or compiler()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lenet.h").write_text(HEADER)
    (folder / "lenet.c").write_text(source)
    (folder / "python_module.c").write_text(wrapper or WRAPPER.read_text())
    macros = [f"-D{name}={value}" for name, value in (SETTINGS | settings).items()]
    command = [cc, "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O1", "-fPIC", "-shared"]
    command += ["-Wall", "-Wextra", "-pedantic", "-Werror", f"-I{include()}", *macros, *flags]
    command += ["-o", "lenet.so", "lenet.c", "python_module.c", "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "lenet.so").read_bytes()


def write_native(folder, library, scale=1):
    """An artifact that holds `library`, with golden answers of `scale`; returns its folder."""
    images = noise(4)
    answers = golden.write(images, first_pixels(images, scale))
    files = {"golden.npz": answers, "lenet.so": library}
    return write_artifact(folder, files=files, format="native")


def first_pixels(images, scale=1):
    """The logits of a stand-in."""
    return images.reshape(-1, 1024)[:, :10] * np.float32(scale)


def load(folder, **arguments):
    return lenet_runtime.load(folder, trust=True, **arguments)


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The bytes of a stand-in's ``lenet.so``."""
    if SANITIZED in os.environ:
        return Path(os.environ[SANITIZED]).read_bytes()
    return compile_library(tmp_path_factory.mktemp("library"))


class Gate:
    """Makes images that are computed up to a point until `open` is called."""

    def __init__(self):
        self._here, self._say = os.pipe()
        self._wait, self._go = os.pipe()

    def shut(self, images, at):
        images.reshape(len(images), -1)[at, 10:13] = GATE, self._say, self._wait
        return images

    def await_arrival(self):
        assert os.read(self._here, 1)

    def open(self):
        os.write(self._go, b"!")


@pytest.fixture
def gate():
    return Gate()
