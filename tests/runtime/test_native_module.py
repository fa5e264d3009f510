"""The extension module of native artifacts: the wrapper round the generated code."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from native_files import (
    FAIL,
    SANITIZED,
    Gate,
    compile_library,
    compiler,
    first_pixels,
    write_native,
)
from processes import python
from samples import noise

from lenet_runtime.backends import native

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def folder(tmp_path, library):
    return write_native(tmp_path / "artifact", library)


@pytest.fixture
def module(library):
    return native._load_module(library, Path("lenet.so"))


@pytest.mark.parametrize("cc", ["gcc", "clang"])
@pytest.mark.parametrize("level", ["-O0", "-O3"])
def test_it_compiles_without_a_warning(tmp_path, cc, level):
    compiler()
    if shutil.which(cc) is None:
        pytest.skip(f"no {cc}")
    assert compile_library(tmp_path, level, cc=cc)


def test_it_says_what_it_is(module):
    assert module.isa() == "generic"
    assert module.version == "1.2.3"
    assert module.weights_sha256 == "0" * 64
    assert module.interface == native.INTERFACE


@pytest.mark.parametrize("count", [0, 1, 7, 8, 31, 32, 33, 64, 100])
@pytest.mark.parametrize("check", [False, True])
def test_it_fills_the_logits(module, count, check):
    images, logits = noise(count), np.full((count + 1, 10), 7, np.float32)
    assert module.run(images, logits[:count], check) is True
    np.testing.assert_array_equal(logits[:count], first_pixels(images))
    assert (logits[count:] == 7).all()


@pytest.mark.parametrize("count", [1, 8, 33, 100])
def test_it_finds_every_value_that_is_not_finite(module, count):
    logits = np.empty((count, 10), np.float32)
    for place in (0, 1023, 1024 * count // 2, 1024 * count - 1):
        images = noise(count)
        images.reshape(-1)[place] = np.nan
        assert module.run(images, logits, True) is False
        assert module.run(images, logits, False) is True


X, Y = noise(2), np.zeros((2, 10), np.float32)
BAD_CALLS = {
    "no arguments": (),
    "two arguments": (X, Y),
    "four arguments": (X, Y, True, True),
    "None for images": (None, Y, True),
    "None for logits": (X, None, True),
    "a list": (X.tolist(), Y, True),
    "an address": (X.ctypes.data, Y.ctypes.data, True),
    "a logit too few": (X, Y[:, :9].copy(), True),
    "a row too few": (X, Y[:1], True),
    "a row too many": (X[:1], Y, True),
    "28x28": (X[:, :, 2:30, 2:30].copy(), Y, True),
    "float64 images": (X.astype(np.float64), Y, True),
    "float64 logits": (X, Y.astype(np.float64), True),
    "half an image": (X.reshape(-1)[:1536], Y[:1], True),
    "every second row": (X, np.zeros((4, 10), np.float32)[::2], True),
    "Fortran logits": (X, np.asfortranarray(Y), True),
    "mirrored images": (X[..., ::-1], Y, True),
    "read-only logits": (X, np.broadcast_to(np.float32(0), (2, 10)), True),
    "bytes for logits": (X, bytes(80), True),
    "unaligned images": (memoryview(bytes(8193))[1:], Y, True),
    "unaligned logits": (X, memoryview(bytearray(81))[1:], True),
    "objects": (X.astype(object), Y, True),
    "what cannot be told true from false": (X, Y, np.zeros(2)),
}


@pytest.mark.parametrize("arguments", BAD_CALLS.values(), ids=BAD_CALLS)
def test_what_would_be_out_of_bounds_is_refused(module, arguments):
    with pytest.raises((BufferError, TypeError, ValueError)):
        module.run(*arguments)


def test_any_bytes_that_fit_are_taken(module):
    """Read-only images, and buffers that are no arrays; a buffer is given back afterwards."""
    images, logits = bytearray(X.tobytes()), bytearray(80)
    assert module.run(bytes(images), logits, True)
    assert module.run(images, logits, True)
    np.testing.assert_array_equal(np.frombuffer(logits, np.float32).reshape(2, 10), first_pixels(X))
    for count in (1, 2):
        images.extend(b"more")  # a BufferError while it is lent
        logits.extend(b"more")
        with pytest.raises(ValueError, match=f"found {8192 + 4 * count} and {80 + 4 * count}"):
            module.run(images, logits, True)


def test_an_error_of_the_code_is_told(module):
    images = noise(40)
    images[35, 0, 0, 10] = FAIL
    with pytest.raises(RuntimeError, match="error 5"):
        module.run(images, np.empty((40, 10), np.float32), True)


def test_the_global_lock_is_released(module, gate):
    """If it were not, this thread could not open the gate: error 3 after 30 s."""
    images = gate.shut(noise(8), at=3)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(module.run, images, np.empty((8, 10), np.float32), True)
        gate.await_arrival()
        gate.open()
        assert running.result() is True


def test_calls_at_once_have_a_workspace_each(module):
    """Each finds its own mark in it after all have come in."""
    gates = [Gate() for _ in range(4)]
    batches = [gate.shut(noise(8), at=0) for gate in gates]
    logits = [np.empty((8, 10), np.float32) for _ in gates]
    for _ in range(2):  # the second time, with the workspaces of the first
        with ThreadPoolExecutor(4) as pool:
            running = [
                pool.submit(module.run, x, y, True) for x, y in zip(batches, logits, strict=True)
            ]
            for gate in gates:
                gate.await_arrival()
            for gate in gates:
                gate.open()
            assert all(future.result() for future in running)


RESIDENT = """
import gc, os, sys
from pathlib import Path
import numpy as np
from lenet_runtime.backends import native

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

module = native._load_module(Path(sys.argv[1]).read_bytes(), Path("lenet.so"))
"""


@linux
def test_ten_thousand_calls_leave_nothing_behind(folder):
    """Good ones, and those that fail at each step."""
    code = """
good = np.zeros((9, 1, 32, 32), np.float32), np.zeros((9, 10), np.float32)
bad = good[0] * np.float32(1)
bad[8, 0, 31, 31] = np.nan
fails = bad.copy()
fails[8, 0, 31, 31], fails[8, 0, 0, 10] = 0, 54321
wrong = [(good[0], None), (None, good[1]), (good[0], good[1][:8]), (fails, good[1])]

def calls(count):
    for _ in range(count):
        assert module.run(*good, True) and not module.run(bad, good[1], True)
        for pair in wrong:
            try:
                module.run(*pair, True)
            except (TypeError, ValueError, RuntimeError):
                continue
            raise AssertionError

calls(1000)
gc.collect()
before, blocks = resident(), sys.getallocatedblocks()
calls(10_000)
gc.collect()
print(resident() - before, sys.getallocatedblocks() - blocks)
"""
    grown, blocks = map(int, python(RESIDENT + code, folder / "lenet.so").stdout.split())
    assert grown < 2**20
    assert blocks < 1000


@linux
def test_workspaces_end_with_the_module(tmp_path):
    compile_library(tmp_path, WORKSPACE=str(2**26))
    code = """
module.run(np.zeros((1, 1, 32, 32), np.float32), np.zeros((1, 10), np.float32), True)
full = resident()
del module
gc.collect()
print(full - resident())
"""
    assert int(python(RESIDENT + code, tmp_path / "lenet.so").stdout) > 2**26 - 2**22


def test_the_sanitizers_find_nothing(tmp_path):
    """Every kind of call above, with AddressSanitizer and UBSan in the library."""
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]
    runtime = subprocess.run(
        [compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(runtime).is_file():
        pytest.skip("the compiler has no libasan.so")
    compile_library(tmp_path, *flags)
    files = __file__, str(Path(__file__).with_name("test_native_threads.py"))
    tests = "fills or finds or out_of_bounds or any_bytes or error_of_the_code or at_once"
    environment = {
        "LD_PRELOAD": str(Path(runtime).resolve()),
        "ASAN_OPTIONS": "detect_leaks=0",  # of CPython itself
        SANITIZED: str(tmp_path / "lenet.so"),
    }
    python("", **environment)  # the interpreter itself runs under it
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", tests],
        capture_output=True, text=True, check=False, env=os.environ | environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
