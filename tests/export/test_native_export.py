"""Making native code: the compiler that is found, and the source that the command line writes."""

import json
import re
from struct import unpack_from

import numpy as np
import pytest
from cli_helper import run
from native_c import request, sources_of
from samples import digits

from lenet_export import compiler
from lenet_export.formats.native import build, write_source
from lenet_export.network import weights
from lenet_runtime import load
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeployError, InputError

SOURCES = {"lenet.c": "int answer;\n", "lenet.h": ""}


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """`tools(name=script)`: a PATH with these programs alone."""

    def make(**scripts):
        folder = tmp_path / "bin"
        folder.mkdir()
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.delenv("CC", raising=False)
        return folder

    return make


# ---- the compiler


@pytest.mark.parametrize(
    ("programs", "cc", "command", "version"),
    [
        ({"gcc": "echo gcc 12.2.0", "clang": "echo clang 14.0.6"}, None, "gcc", "12.2.0"),
        ({"clang": "echo clang version 14.0.6"}, None, "clang", "14.0.6"),
        ({"gcc": "echo 1.0", "ccache": 'test "$1" = gcc -a "$2" = -m64 && echo 4.5.6'},
         "ccache gcc -m64", "ccache gcc -m64", "4.5.6"),
        ({"gcc": "echo 1.0"}, "", "gcc", "1.0"),
        ({"gcc": "echo 1.0"}, " ", "gcc", "1.0"),
    ],
    ids=["gcc is preferred", "clang", "CC goes first with its arguments", "CC empty", "CC blank"],
)  # fmt: skip
def test_the_compiler_that_is_found(tools, monkeypatch, programs, cc, command, version):
    tools(**programs)
    if cc is not None:
        monkeypatch.setenv("CC", cc)
    found = compiler.find()
    assert (found.command, found.version) == (tuple(command.split()), version)
    assert found.name == command.split()[0]


@pytest.mark.parametrize(
    ("cc", "kind", "message"),
    [
        ("no-such-compiler", BackendUnavailable, r"'no-such-compiler'.*--source-only"),
        ("'gcc", InputError, "CC: expected a command"),
    ],
)
def test_a_cc_that_does_not_do_is_not_replaced(tools, monkeypatch, cc, kind, message):
    tools(gcc="echo 1.0")
    monkeypatch.setenv("CC", cc)
    with pytest.raises(kind, match=message):
        compiler.find()


def test_no_compiler_names_the_way_without_one(tools):
    tools()
    with pytest.raises(BackendUnavailable, match=r"'gcc', 'clang', 'cc'.*--source-only"):
        compiler.find()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ('test "$1" = --version || { echo "lenet.c:1: no such luck" >&2; exit 1; }',
         r"lenet\.c:1: no such luck"),
        ("true", "made no lenet.so"),
    ],
)  # fmt: skip
def test_a_compiler_that_fails_is_quoted(tools, script, message):
    tools(gcc=script)
    with pytest.raises(DeployError, match=message):
        compiler.build_library(compiler.find(), SOURCES, "lenet.so")


def test_a_compiler_that_cannot_run_is_an_error(tools):
    folder = tools(gcc="")
    (folder / "gcc").write_bytes(b"\x7fELF no program")
    with pytest.raises(DeployError, match="did not run"):
        compiler.find()


def test_python_headers_are_asked_for(tools, tmp_path, monkeypatch, net):
    tools(gcc="true")
    monkeypatch.setattr(compiler.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(BackendUnavailable, match=r"Python\.h.*--source-only"):
        build(request(net))


def test_build_asks_for_a_compiler_before_it_works(tools, net):
    tools()
    with pytest.raises(BackendUnavailable, match="C compiler"):
        build(request(net))


@pytest.mark.parametrize(
    "flag",
    ["-ffast-math", "-Ofast", "-funsafe-math-optimizations", "-freciprocal-math", "-mdaz-ftz",
     "-fassociative-math", "-ffinite-math-only", "-ffp-model=fast", "-fno-honor-nans", "-mpc64",
     "-menable-no-nans", "-specs=own", "@flags"],
)  # fmt: skip
def test_a_cc_with_arithmetic_of_its_own_is_refused(tools, monkeypatch, flag):
    tools(gcc="echo 1.0")
    monkeypatch.setenv("CC", f"gcc -m64 {flag}")
    with pytest.raises(InputError, match=f"CC: {flag} changes what floating-point"):
        compiler.find()


def test_the_manifest_names_the_compiler_and_its_flags(exported):
    tools = exported("native").manifest.tools
    assert tools["cflags"] == " ".join(compiler.FLAGS)
    assert tools.keys() & {"gcc", "clang", "cc"}


def test_the_library_asks_for_no_executable_stack(exported):
    """And has no segment that is both written and executed: glibc 2.41 refuses to load such."""
    data = exported("native").read("lenet.so")
    (offset,), (size, count) = unpack_from("<Q", data, 32), unpack_from("<HH", data, 54)
    segments = [unpack_from("<II", data, offset + size * i) for i in range(count)]
    stack = [flags for kind, flags in segments if kind == 0x6474E551]  # PT_GNU_STACK
    assert stack
    assert not any(flags & 1 for flags in stack)
    assert not any(flags & 3 == 3 for _, flags in segments)


# ---- the source


def test_unknown_level_is_refused(net):
    with pytest.raises(InputError, match=r"isa: expected one of x86-64-v4, .* found 'avx2'"):
        sources_of(net, "avx2")


@pytest.mark.parametrize(
    "prefix", ["", "2nd", "_a", "a-b", "a b", "caf\u00e9", "a" * 33, "v4", "Py"]
)
def test_a_prefix_that_cannot_begin_a_name_is_refused(net, prefix):
    with pytest.raises(InputError, match="prefix: expected letters"):
        sources_of(net, prefix=prefix)


def test_a_prefix_begins_every_name_and_the_library_loads_as_ever(exported, net):
    artifact = exported("native", prefix="digits")
    for name in ("lenet.c", "lenet.h"):
        text = artifact.read(name).decode()
        assert "digits_run" in text
        assert not re.search(r"lenet_(?!runtime)|LENET", text)
    with (
        load(artifact.path, trust=True) as session,
        load(exported("native").path, trust=True) as own,
    ):
        np.testing.assert_array_equal(session.run(digits()), own.run(digits()))


def test_each_level_has_its_kernels_and_those_below(net, tmp_path):
    sizes = []
    for level in ("generic", "x86-64-v3", "x86-64-v4"):
        source, header = (path.read_text() for path in write_source(request(net, level), tmp_path))
        assert ("v3_chunk" in source, "v4_chunk" in source) == (level != "generic", "v4" in level)
        assert f'on this CPU: "{level}"' in header
        assert weights.fingerprint(net) in source
        assert weights.fingerprint(net) in header
        sizes.append(len(source))
    assert sizes == sorted(sizes)


def test_write_source_makes_its_folder_or_says_why_not(net, tmp_path):
    assert all(path.is_file() for path in write_source(request(net), tmp_path / "new" / "folder"))
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot make the folder"):
        write_source(request(net), tmp_path / "file" / "folder")


def test_write_source_says_what_a_broken_module_lacks(tmp_path):
    from torch import nn

    with pytest.raises(InputError, match="module: it fails on"):
        write_source(request(nn.Linear(3, 4)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_the_source(net, tmp_path):
    words = ("export", "-f", "native", "--source-only", "-o", tmp_path)
    paths = [tmp_path / "native-source" / name for name in ("lenet.c", "lenet.h")]
    text = run(*words).stdout
    assert all(str(path) in text for path in paths)
    expected = sources_of(net)
    assert {path.name: path.read_text() for path in paths} == expected
    found = json.loads(run(*words, "--json", "--isa", "generic").stdout)
    assert found == {"source": [str(path) for path in paths]}
    assert "v3_chunk" not in paths[0].read_text()


def test_the_command_needs_no_compiler_for_it(tools, tmp_path):
    tools()
    run("export", "-f", "native", "--source-only", "-o", tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("-f", "onnx", "--source-only"), "--source-only: only the native format"),
        (("-f", "all", "--source-only"), "--source-only: only the native format"),
        (("-f", "onnx", "--isa", "x86-64-v3"), "--isa: only the native format"),
        (("-f", "native", "--isa", "avx2", "--source-only"), "isa: expected one of"),
        (("-f", "native", "--prefix", "2nd", "--source-only"), "prefix: expected letters"),
        (("-f", "onnx", "--prefix", "a"), "--prefix: only the native format"),
        (("-f", "native", "--source-only", "--precision", "fp16"), "fp16"),
        (("-f", "native", "--source-only", "--static-batch", "4"), "--static-batch"),
    ],
)
def test_words_that_do_not_fit_are_refused(tmp_path, words, reason):
    result = run("export", *words, "-o", tmp_path / "out", code=2)
    assert reason in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()
