"""The generated C as a C programmer gets it: compilers, C++, sanitizers, symbols, other CPUs."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from native_c import (
    COMPILERS,
    DRIVER,
    FLAGS,
    WARNINGS,
    any_compiler,
    drive,
    levels_here,
    library,
    need,
    request,
    shell,
    sources_of,
    write,
)
from processes import REPOSITORY
from samples import digits, noise

from lenet_export.formats.native import generate
from lenet_export.network import weights
from lenet_export.network.reference import Reference
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.parity import check_parity, parity_batches

EXAMPLE = REPOSITORY / "docs" / "native" / "example.c"
SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CXX = {"gcc": "g++", "clang": "clang++"}
USE = """\
#include "lenet.h"
#include "lenet.h"
#include <cstdio>
#include <vector>

int main()
{
    std::vector<float> images(2 * LENET_PIXELS), logits(2 * LENET_LOGITS);
    std::vector<unsigned char> workspace(lenet_workspace_size());
    std::printf("%s %d\\n", lenet_version, lenet_all_finite(images.data(), 2));
    return lenet_run(images.data(), logits.data(), 2, workspace.data());
}
"""


@pytest.fixture(scope="module")
def images():
    return np.concatenate([noise(40), digits()])


@pytest.fixture(scope="module")
def folder(net):
    return write(sources_of(net))


def require_parity(net, run, sizes=(1, 33)):
    reference = Reference(net)
    batches = parity_batches(digits(), sizes)
    check_parity(run, reference.eager, reference.exact, batches, "fp32").require("native")


# ---- compilers; `library` compiles with -Wall -Wextra -pedantic -Werror


@pytest.mark.parametrize("compiler", COMPILERS)
def test_plain_c_without_vectors(net, compiler, images):
    """Equal to the bit to what has vectors and FMA."""
    found = library(net, compiler, "generic", "-DLENET_PLAIN_C", "-O0").run(images)
    expected = library(net, any_compiler(), levels_here()[0]).run(images)
    np.testing.assert_array_equal(found, expected)


def test_flags_of_other_projects(net):
    """Whatever a project compiles its C with, but for -ffast-math."""
    flags = ("-std=gnu17", "-O3", "-march=native")
    require_parity(net, library(net, any_compiler(), levels_here()[0], *flags).run)


@pytest.mark.parametrize("precision", ["fp32", "int8", "bf16"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_strict_warnings_find_nothing(net, compiler, precision):
    """In C99 and C11, with vectors and without."""
    need(compiler)
    folder = write(sources_of(net, precision=precision))
    for flags in (("-std=c99",), ("-std=c11",), ("-std=c99", "-DLENET_PLAIN_C")):
        shell(compiler, *FLAGS, *WARNINGS, *flags, "-fsyntax-only", "lenet.c", cwd=folder)


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("flag", ["-ffast-math", "-Ofast", "-ffinite-math-only"])
def test_fast_math_does_not_compile(folder, compiler, flag):
    need(compiler)
    done = subprocess.run([compiler, flag, "-fsyntax-only", "lenet.c"], cwd=folder,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode
    assert "compile without -ffast-math" in done.stderr


@pytest.mark.parametrize("compiler", COMPILERS)
def test_header_from_cpp(folder, compiler):
    """Included twice and linked from C++17, without a warning."""
    need(compiler)
    need(CXX[compiler])
    cwd = folder / compiler
    cwd.mkdir()
    (cwd / "use.cpp").write_text(USE)
    strict = ("-Wall", "-Wextra", "-pedantic", "-Werror", "-Wold-style-cast", "-Wundef", "-I..")
    shell(compiler, *FLAGS, "-c", "../lenet.c", cwd=cwd)
    shell(CXX[compiler], "-std=c++17", *strict, "-o", "use", "use.cpp", "lenet.o", cwd=cwd)
    assert shell("./use", cwd=cwd).endswith(b" 1\n")


def test_sanitizers_find_nothing(net, images):
    """No read or write beside an array, nothing undefined; and the answers are the same."""
    compiler = any_compiler()
    for level in levels_here():
        cwd = write(sources_of(net, level) | {"main.c": DRIVER})
        shell(compiler, "-std=c11", *SANITIZE, "-o", "main", "main.c", "lenet.c", cwd=cwd)
        expected = library(net, compiler, level).run(images)
        np.testing.assert_array_equal(drive(["./main"], images, cwd), expected)


# ---- docs/native/example.c


@pytest.fixture(scope="module")
def example(folder):
    """Where ``./example`` is."""
    shell(any_compiler(), *FLAGS, "-I.", "-o", "example", EXAMPLE, "lenet.c", cwd=folder)
    return folder


def test_the_example_reads_real_digits_as_the_runtime_does(net, example):
    """To the bit: its preprocessing, too, is the runtime's."""
    bundled = load_digits()
    expected = library(net, any_compiler(), levels_here()[0]).run(digits())
    for picture, wanted in zip(bundled.images[::6], expected[::6], strict=True):
        (example / "digit.pgm").write_bytes(b"P5\n28 28\n255\n" + picture.tobytes())
        answer, *lines = shell("./example", "digit.pgm", cwd=example).decode().splitlines()
        logits = np.array([line.split()[1] for line in lines], np.float32)
        np.testing.assert_array_equal(logits, wanted)
        assert int(answer) == wanted.argmax()
    assert np.mean(expected.argmax(axis=1) == bundled.labels) > 0.9


@pytest.mark.parametrize("data", [b"", b"P5\n28 27\n255\n", b"P5\n28 28\n255\nshort", b"P2 28 28"])
def test_the_example_refuses_other_files(example, data):
    (example / "other.pgm").write_bytes(data)
    with pytest.raises(AssertionError, match="expected a binary PGM"):
        shell("./example", "other.pgm", cwd=example)


# ---- what is in it


def test_no_global_can_be_written(folder):
    """Any number of threads: the object holds code and constants alone."""
    need("nm")
    shell(any_compiler(), *FLAGS, "-c", "-o", "symbols.o", "lenet.c", cwd=folder)
    lines = shell("nm", "symbols.o", cwd=folder).decode().splitlines()
    kinds = {line.split()[-1]: line.split()[-2] for line in lines}
    assert set(kinds.values()) <= set("TtRrU"), kinds
    assert {name for name, kind in kinds.items() if kind in "TR"} == {
        "lenet_all_finite", "lenet_isa", "lenet_run", "lenet_run_finite", "lenet_version",
        "lenet_weights_sha256", "lenet_workspace_size",
    }  # fmt: skip
    needed = {name for name, kind in kinds.items() if kind == "U"}
    assert needed <= {"_GLOBAL_OFFSET_TABLE_", "__cpu_indicator_init", "__cpu_model", "memcpy",
                      "memset"}  # fmt: skip


def test_equal_weights_give_equal_bytes(net):
    first, second = (sources_of(net) for _ in range(2))
    assert first == second
    folders = [write(sources_of(net)) for _ in range(2)]
    for folder in folders:
        flags = ("-O1", "-shared", "-o", "lenet.so", "lenet.c")
        shell(any_compiler(), *FLAGS, *flags, cwd=folder)
    libraries = [(folder / "lenet.so").read_bytes() for folder in folders]
    assert libraries[0] == libraries[1]
    for data in (libraries[0], first["lenet.c"].encode(), first["lenet.h"].encode()):
        for trace in (b"/home", b"/tmp", b".py", os.fsencode(Path.cwd()), os.fsencode(sys.prefix)):
            assert trace not in data


def test_the_weights_in_it_are_exact(net, folder):
    """Hexadecimal constants, read back, are the module's float32 to the bit."""
    text = (folder / "lenet.c").read_text()
    for name, tensor in (("conv1_bias", net.conv1.bias), ("dense2_bias", net.fc3.bias)):
        body = re.search(rf"lenet_{name}\[\d+\] = {{(.*?)}};", text, re.DOTALL)[1]
        values = [float.fromhex(word.strip().rstrip("f")) for word in body.split(",")]
        np.testing.assert_array_equal(values[: len(tensor)], tensor.detach().numpy())
        assert not any(values[len(tensor) :])


def test_the_text_is_ascii_and_says_what_it_is(net, folder):
    for name in ("lenet.c", "lenet.h"):
        text = (folder / name).read_bytes()
        assert text.isascii()
        assert not set(b"\t\r") & set(text)
        assert text.endswith(b"\n")
    assert f"Weights: SHA-256 {weights.fingerprint(net)}" in (folder / "lenet.h").read_text()


def test_the_header_says_what_the_network_takes_and_answers(net):
    """Labels may hold what would end a comment, and are ASCII all the same."""
    labels = (*"abcdefg", "*/ ??/", 'caf\u00e9 "x"', "\n\\")
    pixels = Preprocessing(mean=0.25, std=0.5, padding=3)
    own = dataclasses.replace(request(net), preprocessing=pixels, labels=labels)
    header = generate(own)["lenet.h"]
    for text in (
        *("LENET_MEAN 0.25f", "LENET_STD 0.5f", "LENET_PADDING 3", "no limit but memory"),
        *("any\n * number of threads", '"a", "b"', r'"*\/ \?\?\/"', r'"caf\u00e9 \"x\""'),
    ):
        assert text in header, text
    assert header.isascii()
    shell(any_compiler(), *FLAGS, "-Wcomment", "-Wtrigraphs", "-fsyntax-only", "lenet.h",
          cwd=write({"lenet.h": header}))  # fmt: skip
