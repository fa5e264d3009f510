"""`benchmarks.gpu_check`: its goals, the page of its record, and who takes part."""

import json
from pathlib import Path

import pytest
from device_helper import device_result, run_of
from processes import REPOSITORY

from benchmarks.gpu_check import BUDGET_S, EXPORTED, LATENCY_SIZES, PROFILES, TUNING, record, table
from benchmarks.gpu_check.check import Findings, Options
from benchmarks.gpu_check.goals import ANY, LARGE, SMALL, goals
from benchmarks.gpu_check.participants import exports, ours, peers
from lenet_runtime import cuda
from lenet_runtime.backends import BACKENDS
from lenet_runtime.formats import FORMATS

GOOD = {
    ("fused-cuda", "fp16", 1): 2.0, ("ort-cuda", "fp32", 1): 20.0, ("tensorrt", "fp16", 1): 4.0,
    ("fused-cuda", "fp16", 65536): 200.0, ("tensorrt", "fp16", 65536): 1000.0,
}  # fmt: skip


def verdicts(figures):
    found = goals(run_of(figures))
    return [goal.met for goal in found if goal.precision in (ANY, "fp16")]


def test_goals_that_are_met():
    """65,536 images of 4 KB are 268 MB: 67 us at 4 TB/s, a third of 200 us."""
    assert verdicts(GOOD) == [True, True, True, True, True]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({("fused-cuda", "fp16", 1): 2.1}, [False, False, True, True, True]),
        ({("tensorrt", "fp16", 65536): 990.0}, [True, True, False, False, True]),
        ({("fused-cuda", "fp16", 65536): 230.0}, [True, True, False, False, False]),
        ({("ort-cuda", "fp32", 1): 3.0}, [False, True, True, True, True]),
    ],
)
def test_goals_that_are_missed(changed, expected):
    assert verdicts(GOOD | changed) == expected


def test_a_goal_that_was_not_measured_is_neither():
    assert verdicts({("ort-cuda", "fp32", 1): 3.0}) == [None, None, None]


def test_the_page_has_every_figure_and_says_what_is_missing():
    findings = Findings(latency=[run_of(GOOD).to_dict()])
    findings.skip("export onnx", "no | ORT")
    gpu = cuda.Gpu(0, "NVIDIA H200", "00" * 16, "9.0", 2**37, 132, 2**17, "13.0")
    found = record.document(findings, Options("cuda:0"), gpu, 300)
    page = table.markdown(json.loads(json.dumps(found, allow_nan=False)))
    for part in ("# NVIDIA H200", "## Goals", "## Parity", "## Latency", "## Skipped", "no | ORT"):
        assert part in page
    assert "| fused-cuda fp16 | **2.00** | **200" in page.replace("**200.0**", "**200")
    assert "**yes**" in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)


def test_the_committed_records_render_as_they_were_committed():
    paths = [*(REPOSITORY / "benchmarks" / "results").glob("nvidia-*.json")]
    assert paths
    for path in paths:
        page = table.markdown(json.loads(path.read_text())) + "\n"
        assert page == path.with_suffix(".md").read_text(), path


def test_a_figure_whose_launches_were_late_is_marked():
    late = device_result("a", 1, 5.0, hidden_share=0.5)
    assert table.mark(late, "device") == " ~"
    assert table.mark(late, "launch") == ""
    assert table.number("1,234 ~") == 1234


def test_every_backend_on_cuda_takes_part_in_every_precision():
    jobs = exports("cuda:0", Path("here"))
    names = {participant.name for participant in ours(jobs)}
    for name, backend in BACKENDS.items():
        for precision in FORMATS[backend.format].precisions if "cuda" in backend.devices else ():
            assert any(f"{name} {precision}".removesuffix(" fp32") in found for found in names)
    assert not [name for name in names if name.startswith(("native", "ort-cpu"))]
    assert len({arguments["folder"] for arguments in jobs.values()}) == len(jobs)


def test_what_is_built_for_a_range_is_built_for_both_ends():
    jobs = exports("cuda:0", Path("here")).values()
    profiles = [a["options"]["profile"] for a in jobs if a["options"]]
    built = [name for name, one in FORMATS.items() if one.has("profile")]
    assert set(profiles) == (set(PROFILES) if built else set())


def test_of_the_default_budget_two_compiled_peers_have_a_minute_each_and_the_goals_sizes_first():
    assert (EXPORTED - TUNING) * BUDGET_S / 2 >= 60
    both = [peer for peer in peers("cuda:0", LATENCY_SIZES) if peer.compiled]
    assert [peer.sizes[:2] for peer in both] == [(SMALL, LARGE)] * 2
