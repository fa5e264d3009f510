"""Devices, and artifacts for another machine: refused before anything of them is loaded."""

import platform
import sys

import pytest
from artifact_files import make_manifest, write_artifact
from fake_engine import BACKEND

import lenet_runtime
from lenet_runtime import cpu, devices
from lenet_runtime.artifact import Requirements, requirements
from lenet_runtime.backends import BACKENDS, choose
from lenet_runtime.devices import Device
from lenet_runtime.errors import BackendUnavailable, InputError

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


# Devices.


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("cpu", Device("cpu")),
        ("cuda", Device("cuda", 0)),
        ("cuda:0", Device("cuda", 0)),
        ("cuda:17", Device("cuda", 17)),
    ],
)
def test_a_name_is_a_device(name, device):
    assert devices.parse(name) == device
    assert devices.parse(str(device)) == device


@pytest.mark.parametrize(
    "name", ["", "gpu", "CUDA", "cuda:", "cuda:01", "cuda:-1", "cuda:1 ", "cpu:0", "cuda:99999", 0]
)
def test_anything_else_is_refused(name):
    with pytest.raises(InputError, match=r"expected 'cpu', 'cuda' or 'cuda:N'"):
        devices.parse(name)


def test_a_backend_is_not_asked_for_a_device_that_it_never_runs_on():
    with pytest.raises(InputError, match=r"'ort-cpu' runs on cpu, found 'cuda:1'"):
        choose("onnx", "ort-cpu", "cuda:1")


def test_a_format_without_a_backend_for_the_device_says_so():
    with pytest.raises(BackendUnavailable, match=r"no backend .* 'native' artifacts on 'cuda'"):
        choose("native", "auto", "cuda")


@pytest.mark.parametrize(
    ("needed", "later", "found", "fits"),
    [
        ((9.0,), False, "9.0", True),
        ((9.0,), False, "8.9", False),
        ((8.0, 8.6), False, "8.6", True),
        ((8.0, 8.6), False, "8.9", False),
        ((8.0,), True, "8.0", True),
        ((8.0,), True, "12.0", True),
        ((8.0,), True, "7.5", False),
        ((9.0,), True, "10.0", True),  # numbers, not text
        ((12.0,), False, "9.0", False),
        ((8.0, 12.0), True, "9.0", True),
        *((foreign, False, "9.0", False) for foreign in ((0.0,), (-9.0,), (1e300,), (90.0,))),
    ],
)
def test_an_artifact_is_for_some_gpus(fake_cuda, needed, later, found, fits):
    fake_cuda(devices=2, capability=tuple(map(int, found.split("."))))
    manifest = needing("cuda", compute_capability=needed, later_gpus=later)
    reasons = requirements.unmet(manifest, BACKEND, "cuda:1")
    assert (reasons == []) == fits
    if not fits:
        assert reasons == [
            "it was built for GPUs of compute capability "
            f"{requirements.gpus_of(manifest.requirements)!r}, cuda:1 (Fake GPU 1) has {found}"
        ]


def test_a_missing_gpu_is_a_reason(fake_cuda):
    fake_cuda()
    (reason,) = requirements.unmet(needing("cuda", compute_capability=(9.0,)), BACKEND, "cuda:3")
    assert "no 'cuda:3' on this machine" in reason


def test_what_was_made_for_a_gpu_does_not_run_on_the_cpu():
    (reason,) = requirements.unmet(needing("cuda", compute_capability=(9.0,)), BACKEND, "cpu")
    assert reason == "it was made for the device 'cuda' and is asked to run on 'cpu'"


def test_every_backend_names_devices_that_exist():
    for backend in BACKENDS.values():
        assert set(backend.devices) <= {"cpu", "cuda"}
