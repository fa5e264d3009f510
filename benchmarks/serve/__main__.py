"""Measure every server and write the result, as `benchmarks/serve/README.md` describes."""

import argparse
import contextlib
import datetime
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serve import load, triton
from benchmarks.serve.bodies import Body, answered, bodies
from benchmarks.serve.peers import BASELINE, OURS, PEERS, Work

RESULTS = triton.ROOT / "benchmarks" / "results"
GENERATOR_CORE, SERVER_CORE = "0", "1"


def main() -> int:
    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="serve-") as scratch:
        document = compare_all(arguments, Path(scratch))
    level = document["fingerprint"]["machine"]["cpu_level"]
    path = arguments.json or RESULTS / f"serve-{level}-{document['date']}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    from benchmarks.serve.table import markdown

    path.with_suffix(".md").write_text(markdown(document) + "\n")
    print(markdown(document))
    print(f"wrote {path}", file=sys.stderr)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--artifact", type=Path, help="a native artifact; exported if absent")
    parser.add_argument("--quick", action="store_true", help="one concurrency, in three minutes")
    parser.add_argument("--connections", default="1,4,16,64", metavar="N,N")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="N", help="of a window")
    parser.add_argument("--only", default="", metavar="TEXT,TEXT", help="peers whose name has it")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.connections, arguments.rounds = "16", 5
    return arguments


def compare_all(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Start all, ask each the same digit, measure those that answer right."""
    from lenet_bench import fingerprint
    from lenet_runtime.version import installed

    before = fingerprint()
    artifact = arguments.artifact or export(scratch / "artifact")
    wanted = [text for text in arguments.only.split(",") if text]
    requests, missing, begin = bodies(), [], time.monotonic()
    with contextlib.ExitStack() as stack:
        servers: dict[str, triton.Server] = {}
        for name, peer in PEERS.items():
            if wanted and name not in (OURS, BASELINE) and not any(w in name for w in wanted):
                continue
            print(f"starting {name}", file=sys.stderr, flush=True)
            folder = scratch / str(len(servers))  # Triton's python backend takes no spaces in it
            folder.mkdir(exist_ok=True)
            work = Work(artifact.resolve(), folder, ("taskset", "-c", SERVER_CORE))
            try:
                servers[name] = stack.enter_context(peer.start(work))
            except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
                missing.append({"peer": name, "reason": str(error)[-600:]})
        lines = right_answers(servers, requests, artifact, missing)
        started = time.monotonic()
        windows = measure(arguments, servers, requests, lines, missing)
        results = [figures(key, each, windows) for key, each in windows.items()]
        latency = half_load(arguments, servers, requests, results)
        processes = {
            name: {**load.memory_mb(server.pid), "ready_s": server.ready_s}
            for name, server in servers.items()
            if name in {peer for peer, _, _ in windows}
        }
    return {
        "schema": "lenet-serve/1",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": f"python -m benchmarks.serve {' '.join(sys.argv[1:])}".strip(),
        "seconds": {"start": round(started - begin), "all": round(time.monotonic() - begin)},
        "settings": {"rounds": arguments.rounds, "window_s": arguments.seconds},
        "fingerprint": before,
        "load_average_1min_after": fingerprint()["state"]["load_average_1min"],
        "versions": {name: installed(name) for name in ("uvicorn", "uvloop", "orjson", "grpcio")},
        "missing": missing,
        "processes": processes,
        "results": results,
        "half_load": latency,
    }


def export(folder: Path) -> Path:
    import lenet_export
    from lenet_deploy.training.checkpoint import load_checkpoint

    return Path(lenet_export.export(load_checkpoint().eval(), "native", folder).path)


Key = tuple[str, str, int]  # peer, body, connections


def right_answers(
    servers: dict[str, triton.Server],
    requests: dict[str, Body],
    artifact: Path,
    missing: list[dict[str, str]],
) -> list[tuple[str, str]]:
    """The pairs of peer and body whose answer is the session's; the others go to `missing`."""
    import lenet_runtime

    with lenet_runtime.load(artifact, trust=True) as session:
        expected = session.run(
            np.frombuffer(requests["binary"].data[-4096:], "<f4").reshape(1, 1, 32, 32)
        )
    lines = []
    for name, server in servers.items():
        for body in PEERS[name].bodies:
            try:
                logits = answered(requests[body], server.http, server.grpc)
                np.testing.assert_allclose(logits, expected[0], atol=1e-5)
                lines.append((name, body))
            except (OSError, AssertionError) as error:
                missing.append({"peer": f"{name}, {body}", "reason": str(error)[:300]})
    return lines


def measure(
    arguments: argparse.Namespace,
    servers: dict[str, triton.Server],
    requests: dict[str, Body],
    lines: list[tuple[str, str]],
    missing: list[dict[str, str]],
) -> dict[Key, list[load.Window]]:
    """Windows in turns: every line once, then every line again; one that fails leaves the table."""
    connections = [int(n) for n in arguments.connections.split(",")]
    keys = [(peer, body, n) for n in connections for peer, body in lines]
    windows: dict[Key, list[load.Window]] = {key: [] for key in keys}
    for number in range(arguments.rounds + 1):  # the first warms up
        print(f"round {number} of {arguments.rounds}", file=sys.stderr, flush=True)
        for peer, body, n in list(windows):
            server, request = servers[peer], requests[body]
            port = server.grpc if request.grpc else server.http
            try:
                window = load.closed_loop(
                    server.pid, port, request, n, arguments.seconds, core=GENERATOR_CORE
                )
            except (OSError, RuntimeError) as error:
                missing.append({"peer": f"{peer}, {body}, {n}", "reason": str(error)})
                print(missing[-1], file=sys.stderr, flush=True)
                del windows[peer, body, n]
                continue
            if number:
                windows[peer, body, n].append(window)
    return windows


def figures(
    key: Key, each: list[load.Window], windows: dict[Key, list[load.Window]]
) -> dict[str, Any]:
    """Medians over the rounds, and the ratio to the base line, paired by round."""
    peer, body, n = key
    result: dict[str, Any] = {
        "peer": peer,
        "body": body,
        "connections": n,
        "cpu_us": round(statistics.median(w.cpu_us for w in each), 1),
        "cpu_us_best": round(min(w.cpu_us for w in each), 1),
        "rate": round(statistics.median(w.rate for w in each)),
        "errors": sum(w.errors for w in each),
        "rounds_cpu_us": [round(w.cpu_us, 1) for w in each],
    }
    peers = {"ratio": BASELINE, "ratio_to_ours": OURS}
    for name, other in peers.items():
        its = "JSON" if (other, body) == (BASELINE, "pixels JSON") else body
        if theirs := windows.get((other, its, n)):
            result[name] = paired_ratio(each, theirs)
    return result


def paired_ratio(ours: list[load.Window], theirs: list[load.Window]) -> dict[str, float]:
    """Of CPU per request, by round: the median, and the range."""
    ratios = [a.cpu_us / b.cpu_us for a, b in zip(ours, theirs, strict=True)]
    values = {"value": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
    return {name: round(value, 3) for name, value in values.items()}


def half_load(
    arguments: argparse.Namespace,
    servers: dict[str, triton.Server],
    requests: dict[str, Body],
    results: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Latency at half of the rate that each server reached, and at half of the base line's."""
    most = max(result["connections"] for result in results if result["connections"] <= 16)
    rates = {(r["peer"], r["body"]): r["rate"] for r in results if r["connections"] == most}
    latency = []
    for (peer, body), rate in rates.items():
        server, request = servers[peer], requests[body]
        port = server.grpc if request.grpc else server.http
        seconds = 2.0 if arguments.quick else 5.0
        found = load.open_loop(port, request, rate / 2, seconds, GENERATOR_CORE)
        if found:
            rounded = {key: round(value, 3) for key, value in found.items()}
            latency.append({"peer": peer, "body": body, **rounded})
    return latency


if __name__ == "__main__":
    sys.exit(main())
