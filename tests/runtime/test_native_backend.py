"""native: the wrapper round the generated code, and the threads round the wrapper."""

import contextlib
import gc
import os
import shutil
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from artifact_files import edit_manifest, replace_file
from fake_engine import FakePredictor
from native_files import (
    FAIL,
    GATE,
    STAND_IN,
    WRAPPER,
    compile_library,
    compiler,
    write_native,
)
from samples import noise

import lenet_runtime
from lenet_runtime import BACKENDS
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import native
from lenet_runtime.backends.workers import Workers
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeployError, InputError
from lenet_runtime.plans.routing import Route, Router

SANITIZED = "LENET_SANITIZED_LIBRARY"  # set where this file runs itself under AddressSanitizer
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def first_pixels(images, scale=1):
    return images.reshape(-1, 1024)[:, :10] * np.float32(scale)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    if SANITIZED in os.environ:
        return Path(os.environ[SANITIZED]).read_bytes()
    return compile_library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    """A library of another network: twice the first ten pixels."""
    return compile_library(tmp_path_factory.mktemp("double"), SCALE="2.0f")


@pytest.fixture
def folder(tmp_path, library):
    return write_native(tmp_path / "artifact", library)


@pytest.fixture
def module(library):
    return native._load_module(library, Path("lenet.so"))


def load(folder, **arguments):
    return lenet_runtime.load(folder, trust=True, **arguments)


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


# The extension module.


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


def in_process(code, *arguments, **options):
    """Run `code` in a process of its own, and return what it prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


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
    grown, blocks = map(int, in_process(RESIDENT + code, folder / "lenet.so").split())
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
    assert int(in_process(RESIDENT + code, tmp_path / "lenet.so")) > 2**26 - 2**22


def test_the_sanitizers_find_nothing(tmp_path):
    """Every kind of call above, with AddressSanitizer and UBSan in the library."""
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]
    runtime = subprocess.run(
        [compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(runtime).is_file():
        pytest.skip("the compiler has no libasan.so")
    compile_library(tmp_path, *flags)
    tests = "fills or finds or out_of_bounds or any_bytes or error_of_the_code or at_once"
    environment = os.environ | {
        "LD_PRELOAD": str(Path(runtime).resolve()),
        "ASAN_OPTIONS": "detect_leaks=0",  # of CPython itself
        SANITIZED: str(tmp_path / "lenet.so"),
    }
    in_process("", env=environment)  # the interpreter itself runs under it
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", tests],
        capture_output=True, text=True, check=False, env=environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


# The backend.


def test_it_runs(folder):
    with load(folder) as session:
        assert session.backend == "native"
        assert session.predictor.isa == "generic"
        np.testing.assert_array_equal(session.run(noise(9)), first_pixels(noise(9)))


def test_it_runs_code_so_it_needs_trust(folder):
    with pytest.raises(ArtifactError, match="trust=True"):
        lenet_runtime.load(folder)


def test_its_version_is_ours():
    assert BACKENDS["native"].probe("cpu") == lenet_runtime.__version__
    assert BACKENDS["native"].version() == lenet_runtime.__version__


@pytest.mark.parametrize("build", ["t", "PyPy"])
def test_another_python_is_unavailable(folder, monkeypatch, build):
    if build == "t":
        monkeypatch.setattr(sys, "abiflags", "t")
    else:
        monkeypatch.setattr(sys.implementation, "name", "pypy")
    with pytest.raises(BackendUnavailable, match="CPython with its global lock"):
        load(folder)


def other_class(data):
    return data[:4] + b"\x01" + data[5:]  # of 32 bits


BROKEN = {
    "empty": lambda data: b"",
    "text": lambda data: b"int main(void) {}\n" * 400,
    "a header alone": lambda data: data[:64],
    "half a header": lambda data: data[:32],
    "32 bits": other_class,
    "cut before its code": lambda data: data[:4000],
    "less a byte": lambda data: data[:-1],
    "no entry": lambda data: data.replace(b"PyInit_lenet_native", b"PyInit_other_native"),
    "a name less": lambda data: data.replace(b"PyModuleDef_Init", b"PyModuleDef_Unit"),
}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_a_library_that_cannot_be_loaded_is_an_artifact_error(folder, library, damage):
    broken = damage(library)
    assert broken != library
    replace_file(folder, "lenet.so", broken)
    with pytest.raises(ArtifactError, match=r"lenet\.so: .*export it again") as caught:
        load(folder)
    assert "/proc/" not in str(caught.value)


def test_a_library_of_another_machine_is_refused(folder, library):
    sparc = library[:18] + b"\x2b\x00" + library[20:]
    with pytest.raises((ArtifactError, BackendUnavailable), match="export it again"):
        load(replace_file(folder, "lenet.so", sparc))


@pytest.mark.parametrize("keep", [64, 4096, 8192, 12288, -1])
def test_a_damaged_library_is_never_loaded(folder, library, keep):
    (folder / "lenet.so").write_bytes(library[:keep])
    with pytest.raises(ArtifactError, match="damaged or changed"):
        load(folder)


def test_a_library_that_needs_more_than_libc_is_an_artifact_error(folder, tmp_path):
    source = STAND_IN.replace('return "generic"', "extern char *absent(void); return absent()")
    lacking = compile_library(tmp_path / "lacking", source=source)
    with pytest.raises(ArtifactError, match="absent"):
        load(replace_file(folder, "lenet.so", lacking))


def test_a_younger_c_library_is_said_to_be_missing():
    refusal = native._refusal(Path("lenet.so"), "version `GLIBC_2.99' not found (required by x)")
    assert isinstance(refusal, BackendUnavailable)


def test_another_platform_is_unavailable(folder):
    edit_manifest(folder, lambda d: d["requirements"].update(platform="plan9-mips"))
    with pytest.raises(BackendUnavailable, match="plan9-mips"):
        load(folder)


def test_another_interface_is_refused(folder, tmp_path):
    text = WRAPPER.read_text()
    wrapper = text.replace("#define INTERFACE 1", "#define INTERFACE 99")
    assert wrapper != text
    library = compile_library(tmp_path / "other", wrapper=wrapper)
    with pytest.raises(ArtifactError, match="expected a library with interface 1, found 99"):
        load(replace_file(folder, "lenet.so", library))


def test_a_foreign_extension_is_refused(folder, tmp_path):
    wrapper = """
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
static PyModuleDef d = {PyModuleDef_HEAD_INIT, "m", NULL, 0, NULL, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_lenet_native(void) { return PyModuleDef_Init(&d); }
"""
    library = compile_library(tmp_path / "foreign", wrapper=wrapper)
    with pytest.raises(ArtifactError, match="found None"):
        load(replace_file(folder, "lenet.so", library))


def test_an_entry_that_fails_is_an_artifact_error(folder, tmp_path):
    wrapper = "#include <Python.h>\nPyMODINIT_FUNC PyInit_lenet_native(void) { return NULL; }\n"
    library = compile_library(tmp_path / "fails", wrapper=wrapper)
    with pytest.raises(ArtifactError, match="damaged"):
        load(replace_file(folder, "lenet.so", library))


def test_the_weights_of_another_network_are_refused(folder):
    edit_manifest(folder, lambda d: d.update(weights_sha256="1" * 64))
    with pytest.raises(ArtifactError, match=r"expected the network '1111.*found '0000"):
        load(folder)


def test_several_networks_live_in_one_process(tmp_path, library, double):
    """The second gets the descriptor of the first; the loader must not take it for the first."""
    one, two = write_native(tmp_path / "1", library), write_native(tmp_path / "2", double, 2)
    images = noise(70)
    for _ in range(2):
        native._loaded.clear()
        with load(one) as first, load(two) as second, load(one) as third:
            for session, scale in ((first, 1), (second, 2), (third, 1)):
                np.testing.assert_array_equal(session.run(images), first_pixels(images, scale))


def test_networks_stay_apart_where_symbols_are_global(tmp_path, library, double):
    one, two = write_native(tmp_path / "1", library), write_native(tmp_path / "2", double, 2)
    code = """
import os, sys
sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
import lenet_runtime
for path in sys.argv[1:]:
    lenet_runtime.load(path, trust=True)
"""
    in_process(code, one, two)


@linux
def test_a_library_is_mapped_once(folder):
    def mappings():
        lines = Path("/proc/self/maps").read_text().splitlines()
        return [line for line in lines if "memfd:lenet.so" in line]

    load(folder).close()
    before, descriptors = mappings(), os.listdir("/proc/self/fd")
    assert before
    for _ in range(20):
        load(folder).close()
    assert mappings() == before
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)


@pytest.mark.parametrize("error", [AttributeError, OSError, PermissionError])
def test_without_memfd_a_private_folder_serves(folder, monkeypatch, tmp_path, error):
    def refuse(*_):
        raise error("memfd_create")

    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    native._loaded.clear()
    before = sorted(tmp_path.iterdir())
    with load(folder) as session:
        np.testing.assert_array_equal(session.run(noise(3)), first_pixels(noise(3)))
    assert sorted(tmp_path.iterdir()) == before


# The fused check.


def test_session_makes_no_pass_of_its_own(folder, monkeypatch):
    with load(folder) as session:
        monkeypatch.setattr(np, "vdot", None)  # would be called, and fail
        monkeypatch.setattr(np, "isfinite", None)
        session.run(noise(1))
        session.run(noise(9))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [1, 9, 100])
def test_a_value_that_is_not_finite_is_refused(folder, count, threads):
    with load(folder, threads=threads) as session:
        for image in {0, count // 2, count - 1}:
            images, out = noise(count), np.full((count, 10), 7, np.float32)
            images[image, 0, 3, 4] = -np.inf
            with pytest.raises(InputError, match=rf"found 1 .* first at \({image}, 0, 3, 4\)"):
                session.run(images, out=out)
            assert (out == 7).all()


def test_without_the_check_it_is_let_through(folder):
    with load(folder, check_finite=False) as session:
        images = np.full((3, 1, 32, 32), np.nan, np.float32)
        assert np.isnan(session.run(images)).all()


def test_out_is_filled(folder):
    out = np.empty((100, 10), np.float32)
    with load(folder) as session:
        assert session.run(noise(100), out=out) is out
    np.testing.assert_array_equal(out, first_pixels(noise(100)))


def test_images_that_change_meanwhile_are_an_input_error(folder):
    with load(folder) as session:
        session._run = lambda images: None
        with pytest.raises(InputError, match="changed while"):
            session.run(noise(1))


def test_a_router_passes_the_check_on(folder):
    """To an engine that has one; another gets Session's."""

    with load(folder) as session:
        routes = [Route(1, session.predictor), Route(64, FakePredictor())]
        router = Router(routes, contextlib.ExitStack())
        for count in (1, 64):
            images = noise(count)
            np.testing.assert_array_equal(router.run_checked(images), first_pixels(images))
            images[-1, 0, 31, 31] = np.nan
            assert router.run_checked(images) is None


# Threads.


def shares(predictor, images):
    """The sizes of the calls that one run makes, ascending."""
    sizes, run = [], predictor._run
    predictor._run = lambda x, y, check: sizes.append(len(x)) or run(x, y, check)
    try:
        logits = predictor.run(images)
    finally:
        predictor._run = run
    np.testing.assert_array_equal(logits, first_pixels(images))
    return sorted(sizes)


@pytest.mark.parametrize(
    ("threads", "count", "expected"),
    [
        (1, 512, [512]),
        (2, 1, [1]),
        (2, 63, [63]),
        (2, 64, [32, 32]),
        (2, 97, [48, 49]),
        (3, 64, [32, 32]),
        (3, 100, [33, 33, 34]),
        (3, 512, [170, 171, 171]),
        (64, 128, [32] * 4),
    ],
)
def test_large_batches_are_split_evenly(folder, threads, count, expected):
    predictor = native.load(Artifact.open(folder), "cpu", threads)
    assert shares(predictor, noise(count)) == expected


def test_the_engines_own_choice_is_the_usable_cores(folder, monkeypatch):
    monkeypatch.setattr("lenet_runtime.cpu.usable_cores", lambda: 3)
    assert len(shares(native.load(Artifact.open(folder), "cpu", None), noise(512))) == 3


def test_a_split_runs_at_once(folder, gate):
    """The caller's share stays at its gate until the other one is at its own."""
    other = Gate()
    images = other.shut(gate.shut(noise(64), at=0), at=63)
    with load(folder, threads=2) as session, ThreadPoolExecutor(1) as pool:
        running = pool.submit(session.run, images)
        gate.await_arrival()
        other.await_arrival()
        gate.open()
        other.open()
        np.testing.assert_array_equal(running.result(), first_pixels(images))


@pytest.mark.parametrize("count", [1, 31, 63, 64, 65, 96, 127, 513])
def test_the_number_of_threads_changes_no_bit(folder, count):
    answers = []
    for threads in (1, 2, 3, None):
        with load(folder, threads=threads) as session:
            answers.append(session.run(noise(count)).tobytes())
    assert len(set(answers)) == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_many_callers_at_once_get_their_own_answers(folder, threads):
    with load(folder, threads=threads) as session, ThreadPoolExecutor(8) as pool:

        def ask(seed):
            images = noise(1 + seed * 37 % 200, seed)
            return np.array_equal(session.run(images), first_pixels(images))

        assert all(pool.map(ask, range(200)))


def workers():
    return [t for t in threading.enumerate() if t.name == "lenet-native"]


def test_threads_are_started_once_and_end_with_the_session(folder):
    before = set(workers())
    session = load(folder, threads=3)
    session.run(noise(63))
    assert set(workers()) == before
    for _ in range(3):
        session.run(noise(512))
    started = set(workers()) - before
    assert len(started) == 2
    session.close()
    for thread in started:
        thread.join(30)
        assert not thread.is_alive()


def test_threads_end_with_a_session_that_nobody_closed(folder):
    before = set(workers())
    session = load(folder, threads=2)
    session.run(noise(64))
    (started,) = set(workers()) - before
    del session
    gc.collect()
    started.join(30)
    assert not started.is_alive()


def test_a_close_in_the_middle_of_a_run_ends_well(folder, gate):
    images = gate.shut(noise(64), at=40)  # in the share of the other thread
    session = load(folder, threads=2)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(session.run, images)
        gate.await_arrival()
        session.close()
        with pytest.raises(DeployError, match="closed"):
            session.run(noise(1))
        gate.open()
        np.testing.assert_array_equal(running.result(), first_pixels(images))


def test_a_closed_predictor_says_so(folder):
    predictor = native.load(Artifact.open(folder), "cpu", 2)
    predictor.close()
    predictor.close()
    for count in (1, 64):
        with pytest.raises(DeployError, match="closed"):
            predictor.run(noise(count))


def test_a_close_between_the_shares_of_a_run_ends_well(folder):
    predictor = native.load(Artifact.open(folder), "cpu", 3)
    run = predictor._run
    predictor._run = lambda *arguments: predictor.close() or run(*arguments)
    np.testing.assert_array_equal(predictor.run(noise(96)), first_pixels(noise(96)))


def test_a_closed_predictor_has_no_threads(folder):
    before = set(workers())
    predictor = native.load(Artifact.open(folder), "cpu", 2)
    predictor.run(noise(64))
    (started,) = set(workers()) - before
    predictor.close()
    started.join(30)
    assert not started.is_alive()


def test_a_closed_session_lets_go_of_the_predictor(folder):
    session = load(folder)
    predictor = weakref.ref(session.predictor)
    session.close()
    gc.collect()
    assert predictor() is None


@pytest.mark.parametrize("count", [1, 64])
def test_a_run_that_fails_is_a_deploy_error(folder, count):
    """In the calling thread or in another one; and the next one is well."""
    predictor = native.load(Artifact.open(folder), "cpu", 2)
    images = noise(count)
    images[-1, 0, 0, 10] = FAIL
    with pytest.raises(DeployError, match=rf"native failed on \({count}, 1, 32, 32\): .*error 5"):
        predictor.run(images)
    np.testing.assert_array_equal(predictor.run(noise(count)), first_pixels(noise(count)))


def test_what_session_would_refuse_is_a_deploy_error(folder):
    predictor = native.load(Artifact.open(folder), "cpu", None)
    with pytest.raises(DeployError, match=r"native failed on \(1, 1, 28, 28\)"):
        predictor.run(np.zeros((1, 1, 28, 28), np.float32))


def test_threads_that_cannot_be_started_are_a_deploy_error(folder, monkeypatch):
    with load(folder, threads=2) as session:

        def refuse(*_):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr("threading.Thread.start", refuse)
        with pytest.raises(DeployError, match="can't start new thread"):
            session.run(noise(64))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_threads_of_its_own(folder):
    code = """
import os, sys, threading
import numpy as np
import lenet_runtime

images = np.random.default_rng(0).standard_normal((128, 1, 32, 32), np.float32)
with lenet_runtime.load(sys.argv[1], trust=True, threads=3) as session:
    expected = session.run(images)
    child = os.fork()
    if child == 0:
        same = np.array_equal(session.run(images), expected)
        os._exit(0 if same and threading.active_count() == 3 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(session.run(images), expected)
"""
    in_process(code, folder)


def test_a_process_ends_though_a_session_is_open(folder):
    code = """
import sys
import numpy as np
import lenet_runtime
session = lenet_runtime.load(sys.argv[1], trust=True, threads=3)
session.run(np.zeros((128, 1, 32, 32), np.float32))
"""
    in_process(code, folder)


def test_a_call_runs_no_share_of_another():
    """What a signal raises in one caller must not come out of another."""
    workers, ran = Workers(0), []

    def task(name):
        return lambda: ran.append((name, threading.current_thread().name)) or True

    callers = [
        threading.Thread(target=workers.all, args=([task(n)] * 3,), name=n) for n in ("a", "b")
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(ran) == [("a", "a")] * 3 + [("b", "b")] * 3


def test_what_a_task_raises_is_raised_by_its_call_alone():
    workers = Workers(1)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workers.all([stop, lambda: True])
    assert workers.all([lambda: True, lambda: True])
    assert not workers.all([lambda: True, lambda: False])
