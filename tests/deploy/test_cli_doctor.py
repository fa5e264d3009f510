"""`lenet-deploy doctor`: every format and backend, available or not, and the true reason."""

import importlib.metadata
import json
import sys

import pytest
from cli_helper import assert_fits, run, run_alone, set_columns

from lenet_export import FORMATS
from lenet_runtime.backends import BACKENDS

ENGINES = ["torch", "onnx", "onnxscript", "onnxruntime", "tensorrt", "tensorrt_rtx"]


def doctor(**kwargs):
    return json.loads(run("doctor", "--json", **kwargs).stdout)


def flat(table):
    """The text of a table's cells, wherever they were folded."""
    return " ".join(table.replace("│", " ").split())


def test_every_format_and_backend_is_listed(onnx_artifact):
    report = doctor()
    assert list(report["formats"]) == list(FORMATS)
    assert list(report["backends"]) == [
        f"{name} on {device}" for name, backend in BACKENDS.items() for device in backend.devices
    ]
    for state in (*report["formats"].values(), *report["backends"].values()):
        assert state["available"] == (not state["reason"])
    assert report["formats"]["onnx"] == {
        "available": True, "reason": "", "verified_by": ["ort-cpu on cpu"],
    }  # fmt: skip
    assert report["backends"]["ort-cpu on cpu"]["version"] == report["versions"]["onnxruntime"]
    assert report["cpu"]["flags"]
    assert report["faults"] == []


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits_the_terminal(monkeypatch, columns):
    set_columns(monkeypatch, columns)
    table = run("doctor").stdout
    assert_fits(table, columns)
    assert all(name in table for name in (*FORMATS, *BACKENDS))


def test_both_distributions_of_onnxruntime_are_a_fault(monkeypatch):
    """They overwrite each other's files, which no import shows."""
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version",
        lambda name: "1.22.0" if name.startswith("onnxruntime") else version(name),
    )  # fmt: skip
    (fault,) = doctor()["faults"]
    assert "onnxruntime and onnxruntime-gpu are both installed" in fault
    shown = run("doctor").stdout
    assert "fault: onnxruntime and onnxruntime-gpu" in shown
    assert "[cpu]', or with [gpu]" in shown


@pytest.mark.parametrize("distribution", ["onnxruntime", "onnxruntime-gpu"])
def test_one_distribution_of_onnxruntime_is_no_fault(monkeypatch, distribution):
    def version(name):
        if name == distribution:
            return "1.22.0"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    report = doctor()
    assert report["faults"] == []
    assert [name for name, found in report["versions"].items() if found] == [distribution]


def test_without_any_engine_it_says_what_to_install():
    """With brackets and all: rich takes [export] for markup unless it is told."""
    done = run_alone("doctor", "--json", without=ENGINES)
    report = json.loads(done.stdout)
    assert report["backends"].pop("native on cpu")["available"]  # it comes with lenet-deploy
    report["backends"].pop("fused-cuda on cuda")  # so does this, and needs a driver alone
    node = report["backends"].pop("node on cpu")["available"]  # and this, which needs Node
    for state in (*report["formats"].values(), *report["backends"].values()):
        assert not state["available"]
        assert state["reason"].count("pip install ") == 1
    assert report["backends"]["ort-cpu on cpu"]["version"] is None
    text = flat(run_alone("doctor", without=ENGINES).stdout)
    assert text.count("[export]'") >= 3
    assert text.count("[cpu]'") >= 1
    assert text.split("CPU")[0].count("yes") == 1 + node  # and native


def test_a_format_that_nothing_can_prove_is_unavailable(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    report = doctor()
    assert report["formats"]["onnx"] == {
        "available": False, "reason": "no backend here can prove it", "verified_by": [],
    }  # fmt: skip
    assert report["formats"]["torchscript"]["available"]


@pytest.mark.parametrize(
    ("variable", "language", "format", "reason"),
    [
        ("CXX", "C++", "torch-compile", "found no 'no-such-compiler' on PATH"),
        ("CC", "C", "native", "found none of 'no-such-compiler'"),
    ],
)
def test_the_compiler_is_the_one_that_export_takes(monkeypatch, variable, language, format, reason):
    monkeypatch.setenv(variable, "no-such-compiler")
    report = doctor()
    assert report["compilers"][language] is None
    assert not report["formats"][format]["available"]
    assert reason in report["formats"][format]["reason"]
    monkeypatch.setenv(variable, "sh")
    report = doctor()
    assert report["compilers"][language].endswith("sh")
    assert report["formats"][format]["available"]


def test_every_gpu_is_listed(fake_cuda):
    fake_cuda(devices=2, memory=80 * 2**30, capability=(9, 0))
    report = doctor()
    assert [gpu["name"] for gpu in report["gpus"]] == ["Fake GPU 0", "Fake GPU 1"]
    table = flat(run("doctor").stdout)
    assert "cuda:1" in table
    assert "Fake GPU 1, compute capability 9.0, 80 GiB, driver for CUDA 13.2" in table


def test_without_a_driver_none_is_found_and_that_is_no_fault(no_cuda):
    report = doctor()
    assert (report["gpus"], report["faults"]) == ([], [])
    assert "none found" in run("doctor").stdout


def test_a_driver_that_cannot_be_used_or_fails_half_way_is_a_fault(fake_cuda):
    fake_cuda(devices=0)
    report = doctor()
    assert report["gpus"] == []
    assert "CUDA_VISIBLE_DEVICES" in report["faults"][0]
    fake_cuda().fail("cuDeviceGet", 999)
    report = doctor()
    assert report["gpus"] == []
    assert "finding GPU 0 failed with error 999" in report["faults"][0]


def test_words_it_does_not_know_are_usage_errors():
    run("doctor", "--fix", code=2)
    run("doctor", "something", code=2)


def test_it_says_what_it_does_before_an_engine_is_imported(monkeypatch):
    """PyTorch takes seconds; until then nothing but the version of Python is known."""
    told, module = [], sys.modules["lenet_deploy.cli.doctor"]
    monkeypatch.setattr(module, "installed", told.append)
    module.diagnose(told.append)
    assert told[0] == "looking at every engine"
    assert run("doctor", "--json").stderr.startswith("looking at every engine ...\n")
