"""The parts of `make bench-serve` that need no other server."""

import os
import subprocess
import sys

import pytest

from benchmarks.serve import load, table
from benchmarks.serve.__main__ import figures
from benchmarks.serve.load import Window
from benchmarks.serve.peers import BASELINE, OURS

BUSY = "import os, time\nwhile sum(os.times()[:2]) < 0.3: pass\n"


def test_cpu_counts_children_that_run_and_those_that_ended():
    before = load.cpu_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", BUSY], check=True)
    assert load.cpu_seconds(os.getpid()) - before >= 0.28
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY!r}])\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        assert child.pid in load.tree(os.getpid())
        child.communicate(b"\n")


def test_h2load_counts_what_succeeded_and_what_did_not():
    counts = "9 total, 9 started, 9 done, 6 succeeded, 1 failed, 2 errored, 0 timeout"
    text = f"finished\nrequests: {counts}\n"
    assert load.h2load_counts(text) == (6, 3)


def test_ratios_are_paired_by_round():
    def windows(*cpu_us):
        return [Window(1000, 0, 1.0, us / 1000) for us in cpu_us]

    mine, theirs = (OURS, "JSON", 4), (BASELINE, "JSON", 4)
    each = {mine: windows(10, 40, 30), theirs: windows(20, 80, 30)}
    result = figures(mine, each[mine], each)
    assert result["cpu_us"] == pytest.approx(30)
    assert result["ratio"] == {"value": 0.5, "low": 0.5, "high": 1.0}
    pixels = (OURS, "pixels JSON", 4)
    assert figures(pixels, each[mine], each)["ratio"]["value"] == 0.5


def test_the_table_holds_every_line_and_what_failed():
    ratio = {"value": 0.5, "low": 0.4, "high": 0.6}
    line = {"peer": OURS, "body": "binary", "connections": 16, "cpu_us": 40.0, "rate": 9000,
            "errors": 2, "ratio": ratio, "ratio_to_ours": ratio}  # fmt: skip
    text = table.markdown({
        "date": "2026-11-27", "settings": {"rounds": 3, "window_s": 1.0}, "versions": {},
        "fingerprint": {"machine": {"cpu": "a CPU", "cpu_level": "x"},
                        "state": {"load_average_1min": 0.1}},
        "results": [line], "half_load": [{"peer": OURS, "body": "binary", "rate": 4500.0,
                                          "p50_ms": 0.2, "p99_ms": 0.9}],
        "processes": {OURS: {"processes": 1, "rss_mb": 50, "pss_mb": 40, "ready_s": 0.3}},
        "missing": [{"peer": "BentoML", "reason": "it would not start"}],
    })  # fmt: skip
    for words in ("| binary | **lenet-deploy** | 40 |", "0.50 (0.40 to 0.60)", "9,000",
                  "4,500 | 0.20 | 0.90", "binary 16: 2", "BentoML: it would"):  # fmt: skip
        assert words in text
