"""native: which libraries are loaded, and the check for finite images that the code makes."""

import contextlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from artifact_files import edit_manifest, replace_file
from fake_engine import FakePredictor
from native_files import STAND_IN, WRAPPER, compile_library, first_pixels, load, write_native
from processes import python
from samples import noise

import lenet_runtime
from lenet_runtime import BACKENDS
from lenet_runtime.backends import native
from lenet_runtime.errors import ArtifactError, BackendUnavailable, InputError
from lenet_runtime.plans.routing import Route, Router

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    """A library of another network: twice the first ten pixels."""
    return compile_library(tmp_path_factory.mktemp("double"), SCALE="2.0f")


@pytest.fixture
def folder(tmp_path, library):
    return write_native(tmp_path / "artifact", library)


# ---- loading


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
    python(code, one, two)


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


# ---- the check


def test_session_makes_no_pass_of_its_own(folder, monkeypatch):
    with load(folder) as session:
        monkeypatch.setattr(np, "vdot", None)  # would be called, and fail
        monkeypatch.setattr(np, "isfinite", None)
        session.run(noise(1))
        session.run(noise(9))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [1, 9, 200])
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
