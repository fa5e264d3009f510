"""Our open loop beside MLPerf's own load generator, on one session: ``benchmarks/README.md``.

    python -m venv loadgen && loadgen/bin/pip install mlcommons-loadgen .
    loadgen/bin/python benchmarks/loadgen.py ARTIFACT --rate 2000 --trust

Both send the same rate to the same session in this process, in turns, so that a busy machine slows
both; MLPerf's writes its logs to a folder that goes. Its generator sleeps until a request is due,
wakes 75 to 100 us late, and counts that as latency: a request must take milliseconds for the two to
say the same, so one is a batch of ``--images``.
"""

import argparse
import re
import statistics
import tempfile
from pathlib import Path

import mlperf_loadgen as loadgen
import numpy as np

import lenet_runtime
from lenet_bench.openloop.measure import LoadSettings, Windows
from lenet_bench.openloop.targets import CallTarget

PERCENTILES = ("50.00", "90.00", "99.00")


def theirs(run, rate, seconds, seed):
    """Microseconds of each percentile, by MLPerf's load generator in its server scenario."""

    def issue(samples):
        for sample in samples:
            run(sample.index)
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample.id, 0, 0)])

    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.Server
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.server_target_qps = rate
    settings.server_target_latency_ns = 10**9
    settings.min_duration_ms = settings.max_duration_ms = int(1000 * seconds)
    settings.min_query_count = 1
    settings.schedule_rng_seed = seed
    output = loadgen.LogOutputSettings()
    with tempfile.TemporaryDirectory() as folder:
        output.outdir = folder
        logs = loadgen.LogSettings()
        logs.log_output = output
        logs.enable_trace = False
        system = loadgen.ConstructSUT(issue, lambda: None)
        library = loadgen.ConstructQSL(16, 16, lambda ids: None, lambda ids: None)
        loadgen.StartTestWithLogSettings(system, library, settings, logs)
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(system)
        summary = Path(folder, "mlperf_log_summary.txt").read_text()
    return {
        percent: int(re.search(rf"{percent} percentile latency \(ns\) *: (\d+)", summary)[1]) / 1e3
        for percent in PERCENTILES
    }


def ours(run, rate, seconds, seed):
    """The same by `lenet_bench.openloop`, and the generator's own lateness at p99."""
    target = CallTarget("session", lambda images: run(0))
    windows = Windows([target], LoadSettings((rate,), window_seconds=seconds))
    result = windows.send("session", rate, seed)
    return {p: result.percentile_us(float(p)) for p in PERCENTILES}, result.late_p99_us


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--trust", action="store_true")
    given = parser.parse_args()
    pairs = []
    with lenet_runtime.load(given.artifact, threads=1, trust=given.trust) as session:
        noise = np.random.default_rng(0).standard_normal((given.images, 1, 32, 32), np.float32)

        def run(number):
            session.run(noise)

        run(0)
        for seed in range(given.rounds):
            mine, late = ours(run, given.rate, given.seconds, seed)
            pairs.append((mine, theirs(run, given.rate, given.seconds, seed)))
            print(f"round {seed}: ours {mine}, late {late:.1f} us; loadgen {pairs[-1][1]}")
    for percent in PERCENTILES:
        mine, other = (statistics.median(pair[i][percent] for pair in pairs) for i in (0, 1))
        print(f"p{percent}: ours {mine:.1f} us, loadgen {other:.1f} us, ratio {mine / other:.3f}")


if __name__ == "__main__":
    main()
