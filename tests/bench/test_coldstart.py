"""Cold start: real processes, so what is asserted is that figures are there, not how small."""

import pytest

from lenet_bench import coldstart
from lenet_runtime.errors import DeployError

STAGES = ("numpy_ms", "import_ms", "load_ms", "first_run_ms", "second_run_ms")


def arguments(artifact, **changes):
    return {"path": str(artifact.path), "backend": "ort-cpu"} | changes


def test_a_cold_start_has_every_figure(onnx_artifact):
    (row,) = coldstart.measure({"mine": arguments(onnx_artifact)}, repeats=1)
    assert (row["engine"], row["repeats"]) == ("mine", 1)
    assert all(row[key] > 0 for key in STAGES)
    assert row["process_ms"] > sum(row[key] for key in STAGES)
    assert row["artifact_mib"] > 0
    assert row["installed_mib"] > row["artifact_mib"]
    if row["peak_memory_mib"] is not None:  # where there is a /proc
        assert 10 < row["peak_memory_mib"] < 4096


def test_medians_over_repeats_and_engines_in_turn(onnx_artifact, monkeypatch):
    asked = []

    def start(given):
        asked.append(given["threads"])
        return {"load_ms": [1.0, 9.0, 2.0][len(asked) // 2 % 3], "peak_memory_mib": None}

    monkeypatch.setattr(coldstart, "_start", start)
    engines = {f"t{n}": arguments(onnx_artifact, threads=n) for n in (1, 2)}
    rows = coldstart.measure(engines, repeats=3)
    assert asked == [1, 2, 1, 2, 1, 2]
    assert [row["engine"] for row in rows] == ["t1", "t2"]
    assert rows[0]["load_ms"] == 2
    assert rows[0]["peak_memory_mib"] is None


def test_a_start_that_fails_says_why(onnx_artifact, copy_of):
    folder = copy_of(onnx_artifact)
    (folder / "model.onnx").write_bytes(b"")
    with pytest.raises(DeployError, match=r"cold start of .*model\.onnx"):
        coldstart.measure({"a": arguments(onnx_artifact, path=str(folder))}, repeats=1)


def test_an_engine_that_prints_is_no_fault(onnx_artifact, monkeypatch):
    monkeypatch.setattr(coldstart, "_PROGRAM", "print('hello')\nprint('{\"load_ms\": 1.0}')")
    assert coldstart._start(arguments(onnx_artifact))["load_ms"] == 1


def test_installed_size_counts_dependencies_and_each_once():
    numpy, onnxruntime = (coldstart.installed_mib([name]) for name in ("numpy", "onnxruntime"))
    assert 1 < numpy < onnxruntime
    assert coldstart.installed_mib(["no-such-distribution", "numpy"]) == numpy
    assert coldstart.installed_mib(["no-such-distribution"]) is None


class Distribution:
    """Two that need each other, and one only with an extra."""

    files = ()

    def __init__(self, name):
        self.requires = {
            "a": ["b>=1", 'c; extra == "more"', "d; extra=='more'"], "b": ["A"],
        }[name.lower()]  # fmt: skip


def test_circles_end_and_extras_are_left_out(monkeypatch):
    seen = set()
    monkeypatch.setattr(coldstart.importlib.metadata, "distribution", Distribution)
    coldstart._installed_bytes("a", seen)
    assert seen == {"a", "b"}
