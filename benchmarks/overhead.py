"""What `Session.run` costs over the engine itself, and what `import lenet_runtime` costs.

    python benchmarks/overhead.py [--json FILE]

Call overhead: `Session.run` with all its checks against a bare
`onnxruntime.InferenceSession.run` of the same model, options and array, batch 1, one thread. The
two take turns, 20 calls each, in one process; the figure is the median of the per-turn
differences, with a 95% bootstrap interval. Import: the median over fresh processes, taking turns
between `import numpy` and `import numpy, lenet_runtime`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

import lenet_runtime
from lenet_bench import fingerprint
from lenet_deploy.cache import default_artifact

TURNS, CALLS, PROCESSES = 2000, 20, 21


def call_overhead(path: Path) -> dict[str, object]:
    """Microseconds per call of the bare engine and of our session, taking turns."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    bare = onnxruntime.InferenceSession(
        str(path / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    images = np.random.default_rng(0).standard_normal((1, 1, 32, 32), np.float32)
    with lenet_runtime.load(path, "ort-cpu", threads=1) as session:
        contenders = {
            "bare": lambda: bare.run(None, {"images": images}),
            "session": lambda: session.run(images),
        }
        for call in contenders.values():
            timed(call, 500)
        turns = [
            {name: timed(call, CALLS) for name, call in contenders.items()} for _ in range(TURNS)
        ]
    difference = np.array([turn["session"] - turn["bare"] for turn in turns])
    resampled = np.random.default_rng(0).choice(difference, (1000, TURNS))
    low, high = np.percentile(np.median(resampled, axis=1), [2.5, 97.5])
    return {
        "bare_us": statistics.median(turn["bare"] for turn in turns),
        "session_us": statistics.median(turn["session"] for turn in turns),
        "overhead_us": float(np.median(difference)),
        "overhead_interval_us": [float(low), float(high)],
        "turns": TURNS,
        "calls_per_turn": CALLS,
    }


def timed(call: object, times: int) -> float:
    """Microseconds per call."""
    start = time.perf_counter_ns()
    for _ in range(times):
        call()  # type: ignore[operator]
    return (time.perf_counter_ns() - start) / times / 1e3


def import_cost() -> dict[str, object]:
    """Milliseconds that `import lenet_runtime` takes beyond NumPy, in fresh processes."""
    program = (
        "import time; import numpy; start = time.perf_counter(); import lenet_runtime; "
        "print((time.perf_counter() - start) * 1e3)"
    )
    taken = [
        float(
            subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
        )
        for _ in range(PROCESSES)
    ]
    return {"import_ms": statistics.median(taken), "processes": PROCESSES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
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
