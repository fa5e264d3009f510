"""Makes the Markdown tables of a result: python -m benchmarks.serve.table RESULT.json"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.serve.peers import BASELINE, OURS


def main() -> None:
    path = Path(sys.argv[1])
    table = markdown(json.loads(path.read_text()))
    path.with_suffix(".md").write_text(table + "\n")
    print(table)


def markdown(document: dict[str, Any]) -> str:
    """Tables of CPU, requests per second, ratios, latency, and what a process takes."""
    connections = sorted({r["connections"] for r in document["results"]})
    heads = [f"{n} conn." if n == connections[0] else str(n) for n in connections]
    lines = [header(document), ""]
    for title, cell in (
        (
            "Server CPU, us for an answered request (median of rounds)",
            lambda r: f"{r['cpu_us']:.0f}",
        ),
        ("Answered requests per second", lambda r: f"{r['rate']:,}"),
        (f"CPU as a share of *{BASELINE}* (median, and range over the rounds)", share("ratio")),
        (f"CPU as a multiple of *{OURS}*", share("ratio_to_ours")),
    ):
        lines += [f"{title}:", "", f"| body | server | {' | '.join(heads)} |"]
        lines += ["|---|---|" + "---:|" * len(connections), *rows(document, connections, cell), ""]
    lines += ["Latency at half of the rate above, at a steady rate over 8 connections:", ""]
    lines += ["| body | server | requests/s | p50 ms | p99 ms |", "|---|---|---:|---:|---:|"]
    lines += [
        f"| {r['body']} | {name(r['peer'])} | {r['rate']:,.0f} "
        f"| {r['p50_ms']:.2f} | {r['p99_ms']:.2f} |"
        for r in sorted(document["half_load"], key=lambda r: order(r["body"]))
    ]
    lines += ["", "| server | processes | RSS MB | PSS MB | ready after s |"]
    lines += ["|---|---:|---:|---:|---:|"]
    lines += [
        f"| {name(peer)} | {p['processes']} | {p['rss_mb']:.0f} | {p['pss_mb']:.0f} "
        f"| {p['ready_s']:.2f} |"
        for peer, p in document["processes"].items()
    ]
    wrong = [f"{r['peer']} {r['body']} {r['connections']}: {r['errors']}"
             for r in document["results"] if r["errors"]]  # fmt: skip
    lines += ["", f"Requests refused or failed: {', '.join(wrong) or 'none'}."]
    lines += [f"\nNot measured: {m['peer']}: {m['reason']}" for m in document["missing"]]
    return "\n".join(lines)


def header(document: dict[str, Any]) -> str:
    machine, settings = document["fingerprint"]["machine"], document["settings"]
    software = ", ".join(f"{name} {v}" for name, v in document["versions"].items() if v)
    return (
        f"{document['date']}, {machine['cpu']} ({machine['cpu_level']}), server on one core, "
        f"generator on another, one digit a request, keep-alive; {settings['rounds']} rounds of "
        f"{settings['window_s']:g} s in turns; load average "
        f"{document['fingerprint']['state']['load_average_1min']} before. {software}."
    )


def rows(document: dict[str, Any], connections: list[int], cell: Any) -> list[str]:
    """A row for each body and peer."""
    cells = {(r["body"], r["peer"], r["connections"]): cell(r) for r in document["results"]}
    pairs = dict.fromkeys((r["body"], r["peer"]) for r in document["results"])
    return [
        f"| {body} | {name(peer)} | "
        + " | ".join(cells.get((body, peer, n), "") for n in connections) + " |"
        for body, peer in sorted(pairs, key=lambda pair: order(pair[0]))
    ]  # fmt: skip


def share(key: str) -> Callable[[dict[str, Any]], str]:
    """Makes the cell of a ratio: the median, and the range over the rounds."""

    def cell(result: dict[str, Any]) -> str:
        ratio = result.get(key)
        return f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})" if ratio else ""

    return cell


def order(body: str) -> int:
    return ("JSON", "pixels JSON", "binary", "gRPC").index(body)


def name(peer: str) -> str:
    return f"**{peer}**" if peer == OURS else peer


if __name__ == "__main__":
    main()
