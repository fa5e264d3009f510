"""Measures the overhead of `Session.run` over its engine, and the time of `import lenet_runtime`.

    python benchmarks/overhead.py [--json FILE]
    python benchmarks/overhead.py --idle ARTIFACT...

Calls: `Session.run` with all its checks is compared with a bare
`onnxruntime.InferenceSession.run` of the same model, options and array, at batch size 1 on one
thread. The two take turns of 20 calls in one process; the overhead is the median of the
differences by turn, with a 95% bootstrap interval. Import: the median of the milliseconds that
`import lenet_runtime` takes after `import numpy`, in fresh processes. Idle: the cores that a
process is busy on which runs one image every 20 ms for 3 s, with the default threads and with two.
"""

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import lenet_runtime
from lenet_bench import fingerprint
from lenet_deploy.cache import default_artifact
from lenet_runtime.backends.ort.core import import_onnxruntime

TURNS, CALLS, PROCESSES = 2000, 20, 21
IDLE_CALLS, IDLE_PERIOD = 150, 0.02  # seconds


def call_overhead(path: Path) -> dict[str, object]:
    """Measure the microseconds per call of the bare engine and of our session, in turns."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    bare = onnxruntime.InferenceSession(
        str(path / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    images = np.random.default_rng(0).standard_normal((1, 1, 32, 32), np.float32)
    with lenet_runtime.load(path, "ort-cpu", threads=1) as session:
        calls = {
            "bare": lambda: bare.run(None, {"images": images}),
            "session": lambda: session.run(images),
        }
        for call in calls.values():
            microseconds(call, 500)
        turns = [[microseconds(call, CALLS) for call in calls.values()] for _ in range(TURNS)]
    bare_us, session_us = np.transpose(turns)
    differences = session_us - bare_us
    resampled = np.random.default_rng(0).choice(differences, (1000, TURNS))
    low, high = np.percentile(np.median(resampled, axis=1), [2.5, 97.5])
    return {
        "bare_us": float(np.median(bare_us)),
        "session_us": float(np.median(session_us)),
        "overhead_us": float(np.median(differences)),
        "overhead_interval_us": [float(low), float(high)],
        "turns": TURNS,
        "calls_per_turn": CALLS,
    }


def microseconds(call: Callable[[], object], times: int) -> float:
    """Measure the microseconds of one call, as the mean of several."""
    start = time.perf_counter_ns()
    for _ in range(times):
        call()
    return (time.perf_counter_ns() - start) / times / 1e3


def import_cost() -> dict[str, object]:
    """Measure the milliseconds that `import lenet_runtime` takes after NumPy's import."""
    program = (
        "import time; import numpy; start = time.perf_counter(); import lenet_runtime; "
        "print((time.perf_counter() - start) * 1e3)"
    )
    command = [sys.executable, "-c", program]
    outputs = [subprocess.check_output(command) for _ in range(PROCESSES)]
    return {"import_ms": statistics.median(map(float, outputs)), "processes": PROCESSES}


def idle_cores(path: Path, threads: int | None) -> float:
    """Measure the cores that this process uses at 50 calls of one image a second."""
    images = np.zeros((1, 1, 32, 32), np.float32)
    with lenet_runtime.load(path, threads=threads, trust=True) as session:
        session.warmup()
        before, start = time.process_time(), time.monotonic()
        for call in range(1, IDLE_CALLS + 1):
            session.run(images)
            time.sleep(max(0.0, start + call * IDLE_PERIOD - time.monotonic()))
        return (time.process_time() - before) / (time.monotonic() - start)


def idle(paths: list[Path]) -> None:
    for path in paths:
        for threads in (None, 2):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                cores = pool.submit(idle_cores, path, threads).result()
            print(f"{path}  threads={threads!s:4}  {cores:.3f} cores")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--idle", type=Path, nargs="+", metavar="ARTIFACT")
    arguments = parser.parse_args()
    if arguments.idle:
        idle(arguments.idle)
        return
    results = {
        "fingerprint": fingerprint(),
        "call": call_overhead(default_artifact()),
        "import": import_cost(),
    }
    call = results["call"]
    print(f"bare onnxruntime   {call['bare_us']:7.2f} us")
    print(f"Session.run        {call['session_us']:7.2f} us")
    print(f"overhead           {call['overhead_us']:7.2f} us, 95% {call['overhead_interval_us']}")
    print(f"import beyond numpy {results['import']['import_ms']:6.1f} ms")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
