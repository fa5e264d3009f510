"""Which libraries a provider lacks, read from ELF files that a compiler made."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lenet_runtime.backends.ort import libraries

COMPILER = shutil.which(os.environ.get("CC", "gcc"))
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files")


@pytest.fixture
def build(tmp_path):
    """`build(name, *needs)`: a shared library that needs the others."""
    if COMPILER is None:
        pytest.skip("no C compiler")

    def make(name, *needs):
        path = tmp_path / name
        command = [COMPILER, "-shared", "-o", path, f"-Wl,-soname,{name}", "-x", "c", os.devnull]
        wanted = [tmp_path / need for need in needs]
        linked = ["-x", "none", "-Wl,--no-as-needed", *wanted]
        subprocess.run([*command, *linked], check=True)
        return path

    return make


def test_what_a_library_needs_is_read_in_order(build):
    build("liblenet_one.so.1")
    build("liblenet_two.so.2")
    found = libraries.needed(build("liball.so", "liblenet_one.so.1", "liblenet_two.so.2"))
    assert found[:2] == ["liblenet_one.so.1", "liblenet_two.so.2"]


def test_what_cannot_be_loaded_is_named(build):
    build("liblenet_absent.so.7")
    library = build("libneeds.so", "liblenet_absent.so.7")
    assert libraries.missing([library, library]) == ["liblenet_absent.so.7"]
    assert libraries.missing([library], ["liblenet_later.so.9", "libc.so.6"]) == [
        "liblenet_absent.so.7",
        "liblenet_later.so.9",
    ]
    assert libraries.missing([build("libgood.so")]) == []


def test_the_driver_is_left_to_who_knows_about_it(build):
    build("libcuda.so.1")
    assert libraries.missing([build("libneeds.so", "libcuda.so.1")]) == []


@pytest.mark.parametrize(("package", "inside"), [("nvidia", "cu13/lib"), ("tensorrt_libs", ".")])
def test_packages_of_nvidias_are_searched(build, tmp_path, monkeypatch, package, inside):
    """And what was found there stays, so that a provider which needs it can be loaded."""
    name = f"liblenet_{package}.so.5"
    found = build(name)
    library = build(f"libneeds_{package}.so", name)
    with pytest.raises(OSError, match=name):
        ctypes.CDLL(str(library))
    folder = tmp_path / "site" / package / inside
    folder.mkdir(parents=True)
    found.rename(folder / name)
    if package == "tensorrt_libs":
        (folder / "__init__.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    assert libraries.missing([library]) == []
    ctypes.CDLL(str(library))


def test_what_a_found_library_lacks_in_turn_is_named(build):
    build("liblenet_deep.so.3")
    middle = build("liblenet_middle.so.3", "liblenet_deep.so.3")
    assert libraries.missing([], [str(middle)]) == ["liblenet_deep.so.3"]


@pytest.mark.parametrize("data", [b"", b"text", b"\x7fELF\x02\x01" + bytes(100)])
def test_a_file_that_is_no_library_is_an_error(tmp_path, data):
    (tmp_path / "libbad.so").write_bytes(data)
    with pytest.raises(OSError, match=r"libbad\.so: .*ELF"):
        libraries.needed(tmp_path / "libbad.so")


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        libraries.needed(Path(tmp_path / "none.so"))
