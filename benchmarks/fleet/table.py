"""What was recorded, as Markdown: service times, and the simulation beside the real thing."""

from typing import Any

Document = dict[str, Any]


def recorded(document: Document) -> str:
    """The service times, and measured against simulated."""
    machine = document["fingerprint"]["machine"]
    lines = [
        f"{document['date']}, {machine['cpu']} ({machine['cpu_level']}), {machine['cores']} cores; "
        f"medians over {document['settings']['windows']} windows of "
        f"{document['settings']['window_s']} s, or of 400 requests; load average "
        f"{document['fingerprint']['state']['load_average_1min']} before. "
        f"`{document['command']}`",
        "",
        "| request | bytes | service us, mean | CPU us | beside us | waking us | a worker's "
        "most /s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, body in document["bodies"].items():
        keys = ("bytes", "mean_us", "cpu_us", "overhead_us", "wake_us", "capacity_per_s")
        lines.append(f"| {name} | " + " | ".join(f"{body[key]:,}" for key in keys) + " |")
    lines += [
        "",
        "| request | workers | load | offered /s | p50 us | simulated | p99 us | simulated |"
        " answered /s | simulated | generator late, p99 us |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in document["validation"]:
        figures = [row[f"{kind}_{key}"] for key in ("p50_us", "p99_us", "per_s")
                   for kind in ("measured", "simulated")]  # fmt: skip
        cells = [row["workers"], row["load"], f"{row['rate']:,}", *(f"{n:,}" for n in figures)]
        lines.append(f"| {row['body']} | {' | '.join(map(str, cells))} | {row['late_p99_us']} |")
    lines += ["", *errors(document), "", *kills(document)]
    return "\n".join(lines) + "\n"


def errors(document: Document) -> list[str]:
    """How far off the simulation is, by request and number of workers."""
    lines = [
        "| request | workers | p50, simulated over measured | p99 | knee /s | simulated |",
        "|---|---:|---|---|---:|---:|",
    ]
    rows = document["validation"]
    for name, workers in dict.fromkeys((row["body"], row["workers"]) for row in rows):
        own = [row for row in rows if (row["body"], row["workers"]) == (name, workers)]
        spans = [span([row[f"simulated_{key}"] / row[f"measured_{key}"] for row in own])
                 for key in ("p50_us", "p99_us")]  # fmt: skip
        knees = [f"{knee(own, kind):,}" for kind in ("measured", "simulated")]
        lines.append(f"| {name} | {workers} | {' | '.join(spans + knees)} |")
    return lines


def span(ratios: list[float]) -> str:
    """From the least to the greatest."""
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def knee(rows: list[dict[str, Any]], kind: str) -> int:
    """The rate of the greatest power, rate over p99, among those that were offered."""
    best = max(rows, key=lambda row: row["rate"] / row[f"{kind}_p99_us"])
    return int(best["rate"])


def kills(document: Document) -> list[str]:
    """How many requests the death of a worker cost."""
    runs = document["kills"]
    kinds = ("measured", "simulated")
    measured, simulated = ([run[f"{kind}_lost"] for run in runs] for kind in kinds)
    return [
        f"One of two workers killed, {runs[0]['rate']:,} requests/s, clients that do not retry, "
        f"{len(runs)} times: lost {sum(measured)} ({', '.join(map(str, measured))}), simulated "
        f"{sum(simulated)} ({', '.join(map(str, simulated))}). A killed worker's sockets stay open "
        f"for {document['dying_ms']} ms."
    ]
