"""An artifact for another machine is refused before anything of it is loaded."""

import platform
import sys

import pytest
from artifact_files import make_manifest, write_artifact
from fake_engine import BACKEND

import lenet_runtime
from lenet_runtime import cpu
from lenet_runtime.artifact import Requirements, requirements
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import BackendUnavailable

HERE = f"{sys.platform}-{platform.machine()}"
V4_FLAGS = " ".join(cpu.X86_64_V4)


def needing(device="any", **needs):
    return make_manifest(requirements=Requirements(device, "fake", "1.0", **needs))


@pytest.fixture
def cpuinfo(monkeypatch):
    """`cpuinfo(text)`: what this machine's /proc/cpuinfo says."""

    def pretend(text):
        fields = dict(line.split(":", 1) for line in text.splitlines())
        told = {key.strip(): value.strip() for key, value in fields.items()}
        monkeypatch.setattr(cpu, "_cpuinfo", lambda: told)

    return pretend


@pytest.mark.parametrize(
    "manifest", [needing(), needing("cpu"), needing(platform=HERE), needing(cpu_isa=("sse2",))]
)
def test_what_is_here_is_no_obstacle(manifest, cpuinfo):
    cpuinfo("flags: sse2")
    assert requirements.unmet(manifest, BACKEND, "cpu") == []
    requirements.require(manifest, BACKEND, "cpu", "here")


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (needing("cuda"), "made for the device 'cuda' and is asked to run on 'cpu'"),
        (needing(""), "made for the device ''"),
        (needing(platform="linux-riscv128"), "linux-riscv128"),
        (needing(platform=""), "compiled for ''"),
        (needing(platform="\x1b[2J"), r"'\x1b[2J'"),
        (needing(cpu_isa=("avx512f", "sse2", "amx")), "['amx', 'avx512f']"),
        (make_manifest(precision="int4"), "'int4'"),
    ],
)
def test_what_is_missing_is_named(manifest, reason, cpuinfo):
    cpuinfo("flags: sse2")
    with pytest.raises(BackendUnavailable) as caught:
        requirements.require(manifest, BACKEND, "cpu", "here")
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()


def test_everything_that_is_missing_is_named_at_once(cpuinfo):
    cpuinfo("flags:")
    manifest = needing("cuda", platform="plan9-vax", cpu_isa=("avx2",))
    assert len(requirements.unmet(manifest, BACKEND, "cpu")) == 3


def test_a_foreign_artifact_is_not_given_to_its_engine(tmp_path, monkeypatch):
    monkeypatch.setitem(BACKENDS, "fake", BACKEND)
    monkeypatch.setattr("fake_engine.load", lambda *arguments: pytest.fail("was loaded"))
    needs = Requirements("any", "fake", "1.0", cpu_isa=("no-such-flag",))
    folder = write_artifact(tmp_path / "artifact", requirements=needs)
    with pytest.raises(BackendUnavailable, match="no-such-flag"):
        lenet_runtime.load(folder, trust=True)


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        (f"flags: {V4_FLAGS} sse2", "x86-64-v4"),
        (f"flags: {V4_FLAGS.replace('avx512vl', '')}", "x86-64-v3"),
        (f"flags: {' '.join(cpu.X86_64_V3)}", "x86-64-v3"),
        (f"flags: {V4_FLAGS.replace('movbe', '')}", "x86-64"),
        ("flags: sse2", "x86-64"),
        ("model name: something", "x86-64"),
    ],
)
def test_the_level_is_the_highest_whose_flags_are_all_there(flags, level, cpuinfo, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    cpuinfo(flags)
    assert cpu.level() == level


def test_another_architecture_is_its_own_level(cpuinfo, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    cpuinfo("Features: fp asimd")
    assert cpu.level() == "aarch64"
    assert cpu.flags() == {"fp", "asimd"}


def test_the_first_processor_is_read(monkeypatch):
    """Every core repeats its fields; a blank line stands between two."""
    text = "processor: 0\nmodel name : A CPU\nflags : a b\n\nprocessor: 1\nflags : a\n"
    monkeypatch.setattr(cpu.Path, "read_text", lambda *arguments, **keywords: text)
    assert cpu._cpuinfo.__wrapped__() == {
        "processor": "0",
        "model name": "A CPU",
        "flags": "a b",
    }


def test_a_system_without_proc_is_survived(monkeypatch):
    def missing(*arguments, **keywords):
        raise FileNotFoundError

    monkeypatch.setattr(cpu.Path, "read_text", missing)
    assert cpu._cpuinfo.__wrapped__() == {}


def test_a_system_that_says_nothing_has_no_flags(cpuinfo):
    cpuinfo("")
    assert cpu.flags() == frozenset()
    assert cpu.model()
