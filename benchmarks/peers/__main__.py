"""Measure every peer and write the result, as `benchmarks/peers/README.md` describes."""

import argparse
import datetime
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "peers"
RESULTS = ROOT / "benchmarks" / "results"
SOFTWARE = (
    "ai-edge-litert",
    "apache-tvm",
    "apache-tvm-ffi",
    "executorch",
    "onnxruntime",
    "openvino",
    "torch",
)


def main() -> int:
    arguments = parse()
    # Before torch is imported, because libraries read these variables once.
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(CACHE / "inductor"))
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        document = compare_all(arguments, Path(scratch))
    level = document["fingerprint"]["machine"]["cpu_level"]
    path = arguments.json or RESULTS / f"peers-{level}-{document['date']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"wrote {path}", file=sys.stderr)
    from benchmarks.peers.table import markdown

    print(markdown(document))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--batch-sizes", default="1,8,64,512", metavar="N,N")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--min-time", type=float, default=2.0, metavar="SECONDS")
    parser.add_argument("--min-iterations", type=int, default=50, metavar="N")
    parser.add_argument("--warmup", type=float, default=0.2, metavar="SECONDS")
    parser.add_argument("--input", choices=("rotating", "hot", "cold"), default="rotating")
    parser.add_argument("--only", default="", metavar="TEXT,TEXT", help="peers whose name has it")
    parser.add_argument("--tune", action="store_true", help="let TVM search: minutes per shape")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def compare_all(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Build all peers, compare them with eager, and measure those that pass."""
    import torch

    from benchmarks.peers import BASELINE, PEERS
    from benchmarks.peers.peak import FLOP_PER_IMAGE, peak_gflops
    from lenet_bench import Settings, fingerprint, measure
    from lenet_runtime.version import installed

    torch.set_num_threads(arguments.threads)
    before = fingerprint()
    work = make_work(arguments, scratch)
    texts = [text for text in arguments.only.split(",") if text]
    peers, parity, missing = {}, {}, []
    for name, build in PEERS.items():
        if texts and name != BASELINE and not any(text in name for text in texts):
            continue
        print(f"building {name}", file=sys.stderr, flush=True)
        try:
            peer = build(work)
            parity[name] = share_of_tolerance(name, peer, work)
        except Exception as error:  # any kind: the other peers are measured all the same
            missing.append({"peer": name, "reason": reason(error)})
            print(f"  left out: {missing[-1]['reason'][:200]}", file=sys.stderr, flush=True)
            continue
        peers[name] = peer
    settings = Settings(
        arguments.min_time, arguments.min_iterations, arguments.warmup, arguments.input
    )
    peak_before = peak_gflops()
    results = measure(peers, work.batch_sizes, settings, print_share)
    peak = max(filter(None, (peak_before, peak_gflops())), default=None)
    return {
        "schema": "lenet-peers/1",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": f"python -m benchmarks.peers {' '.join(sys.argv[1:])}".strip(),
        "scope": "host",
        "threads": arguments.threads,
        "settings": vars(settings),
        "fingerprint": before,
        "niceness": os.nice(0),
        "load_average_1min_after": fingerprint()["state"]["load_average_1min"],
        "versions": {name: installed(name) for name in SOFTWARE},
        "baseline": BASELINE,
        "peak_gflops": peak,
        "flop_per_image": FLOP_PER_IMAGE,
        "worst_share_of_tolerance": parity,
        "missing": missing,
        "results": [figures(result, results) for result in results],
    }


def make_work(arguments: argparse.Namespace, scratch: Path) -> Any:
    """The bundled network and our ONNX export of it."""
    import lenet_export
    from benchmarks.peers.work import Work
    from lenet_deploy.training.checkpoint import load_checkpoint

    net = load_checkpoint().eval()
    artifact = lenet_export.export(net, "onnx", scratch / "onnx")
    return Work(
        net,
        artifact.read("model.onnx"),
        tuple(int(size) for size in arguments.batch_sizes.split(",")),
        arguments.threads,
        CACHE,
        scratch,
        arguments.tune,
    )


def share_of_tolerance(name: str, peer: Any, work: Any) -> float:
    """The largest share of its precision's tolerance that a peer needs; fails if it is above 1."""
    from benchmarks.peers import PRECISIONS, pytorch
    from lenet_runtime.images.digits import load_digits
    from lenet_runtime.images.preprocess import Preprocessing, to_batch
    from lenet_runtime.parity import TOLERANCES, ParityReport, compare, parity_batches

    precision = PRECISIONS.get(name, "fp32")
    eager, tolerance = pytorch.eager(work), TOLERANCES[precision]
    digits = to_batch(load_digits().images, Preprocessing())
    comparisons = tuple(
        compare(peer(images), eager(images), tolerance, inputs=name)
        for name, images in parity_batches(digits, work.batch_sizes)
    )
    ParityReport(precision, tolerance, comparisons).require("its answer")
    return max(c.worst_share or 0.0 for c in comparisons)


def reason(error: Exception) -> str:
    from benchmarks.peers.work import Unavailable

    text = " ".join(str(error).split()).replace(str(ROOT), ".").replace(str(Path.home()), "~")
    return text if isinstance(error, Unavailable) else f"{type(error).__name__}: {text[:500]}"


def figures(result: Any, results: list[Any]) -> dict[str, Any]:
    """Percentiles, ratios to three other peers at this batch size, and each round's median."""
    from benchmarks.peers import BASELINE, NATIVE

    peers = {other.engine: other for other in results if other.batch_size == result.batch_size}
    fastest = min(peers.values(), key=lambda other: other.percentile_us(50))
    baseline, native = peers.get(BASELINE, fastest), peers.get(NATIVE, fastest)
    return {
        "peer": result.engine,
        "batch_size": result.batch_size,
        **{key: round(value, 3) for key, value in result.statistics().items()},
        "ratio": interval(result, baseline),
        "ratio_to_fastest": interval(result, fastest),
        "ratio_to_native": interval(result, native),
        "samples": len(result.samples_ns),
        "calls_per_sample": result.calls_per_sample,
        "warm": result.warm,
        "round_medians_us": [round(float(np.median(r)) / 1e3, 3) for r in result.rounds_ns],
    }


def interval(result: Any, other: Any) -> dict[str, float]:
    from lenet_bench.result import paired_ratio

    ratio = paired_ratio(result, other)
    return {key: round(getattr(ratio, key), 4) for key in ("value", "low", "high")}


def print_share(step: str, done: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{step}: {done:4.0%}", end="\n" if done >= 1 else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
