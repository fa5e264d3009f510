"""Everything about a GPU in one command: parity of every backend and precision, and latency.

    python -m benchmarks.gpu_check        # measure, write benchmarks/results/<gpu>-<date>.{json,md}

It needs no installation, only what is on the machine: from a checkout, with
``PYTHONPATH=.:export:runtime:benchmarks``. What it cannot do is listed with the reason, and
it ends within `BUDGET_S`. benchmarks/README.md says what each figure is.

An engine that fails on a GPU may take its whole process with it, so each export and each check of
parity has a process of its own (`jobs`, `worker`), and engines are timed side by side only after
they have passed.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
BUDGET_S, QUICK_BUDGET_S = 360.0, 60.0
PARITY_SIZES = (1, 2, 7, 64, 257, 1024, 65536)
# In the order of their value, the goals' sizes first: time may run out. Each may take `MOST` of the
# time that is left, or an equal share of it where that is more.
LATENCY_SIZES = (1, 65536, 64, 1024, 8, 8192)
MOST = 0.4
QUICK_PARITY, QUICK_LATENCY = (1, 2, 7, 64), (1, 64)
# A graph saves microseconds, and takes as much memory again.
# Above it, only without.
GRAPHS_UP_TO = 8192
OURS, COMPILED = "fused-cuda", "torch.compile"
# Those that the goals are held against, in any precision.
RIVALS = ("ort-cuda", "ort-tensorrt", "tensorrt", COMPILED)
# Formats in the order of their value; those that are not named come last. torch-compile takes the
# longest to build, so it begins early.
FIRST = ("cuda", "torch-compile", "tensorrt", "onnx", "torchscript")
# What times candidates on the GPU while it builds; `--quick` leaves it out. A rival has the GPU to
# itself meanwhile, so that it is at its best.
TUNES, ALONE = ("tensorrt", "torch-compile"), ("tensorrt",)
# A format that is built for a range of batch sizes is built for each of these: it is a rival at
# both ends, and tuned for each.
PROFILES = ("1:1:1024", "1:65536:65536")
# Shares of the budget at which exports, parity, the sanitizer and latency end. On an H100 parity
# took 15 s and latency 60, so of 360 s both have what they need after the exports.
EXPORTED, PROVEN, SANITIZED, TIMED = 0.72, 0.78, 0.86, 0.97
# The share that an export may take that tunes and is no rival. On an H100 one did not end in 113 s
# beside five jobs that used every core, and a compiled peer took 20 to 36 s for one batch size; of
# 360 s, two peers have 66 s each after that.
TUNING = 0.35
# Compiled peers come in the order of their value: each may take so much more than an equal share of
# the time that is left, and the last one all of it.
AHEAD = 1.1
PASSED, FAILED, NO_GPU, INTERRUPTED = 0, 3, 4, 130
