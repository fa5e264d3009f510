"""Makes the Markdown table and the picture of a result.

python -m benchmarks.peers.table RESULT.json [--picture FILE.svg]
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers import picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path, metavar="RESULT.json")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE.svg", help="beside the result if absent"
    )
    arguments = parser.parse_args()
    document = json.loads(arguments.result.read_text())
    table = markdown(document)
    arguments.result.with_suffix(".md").write_text(table + "\n")
    print(table)
    picture.draw(document, arguments.picture or arguments.result.with_suffix(".svg"))


def markdown(document: dict[str, Any]) -> str:
    """Tables of the median microseconds per call, of ratios, and of the share of the peak."""
    lines = [header(document), "", *table(document, "us per call at batch size", cell)]
    lines += ["", "Bold: the fastest, and what the noise cannot tell from it."]
    lines += ["", "Times as long as `lenet-deploy native` (95% interval, paired by round):", ""]
    lines += table(document, "", times_native)
    lines += share_of_peak(document)
    if document["missing"]:
        lines += ["", "Not measured:", ""]
        lines += [f"- {entry['peer']}: {entry['reason']}" for entry in document["missing"]]
    return "\n".join(lines)


def table(
    document: dict[str, Any], heading: str, text: Callable[[dict[str, Any]], str]
) -> list[str]:
    """Lines with a row for each peer and a column for each batch size; `text` makes the cells."""
    sizes = batch_sizes(document)
    cells = {(r["peer"], r["batch_size"]): text(r) for r in document["results"]}
    rows = [[peer, *(cells.get((peer, size), "") for size in sizes)] for peer in peers(document)]
    return [
        " | ".join([f"| {heading}".rstrip(), *map(str, sizes)]) + " |",
        "|---|" + "---:|" * len(sizes),
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def times_native(result: dict[str, Any]) -> str:
    ratio = result["ratio_to_native"]
    return f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def share_of_peak(document: dict[str, Any]) -> list[str]:
    """A table of direct convolution's arithmetic over time, as a share of the run's FMA peak."""
    peak, flop = document.get("peak_gflops"), document.get("flop_per_image", 0)
    if not peak:
        return []

    def share(result: dict[str, Any]) -> str:
        return f"{flop * result['batch_size'] / (result['p50_us'] * 1e3) / peak:.0%}"

    return [
        "",
        f"Arithmetic of direct convolution ({flop / 1e3:.0f} kFLOP an image) "
        f"over time, as a share of this core's float32 FMA peak in the same run "
        f"({peak:.0f} GFLOP/s); more than 100% is work that was avoided:",
        "",
        *table(document, "", share),
    ]


def header(document: dict[str, Any]) -> str:
    machine = document["fingerprint"]["machine"]
    software = ", ".join(f"{name} {v}" for name, v in document["versions"].items() if v)
    return (
        f"{document['date']}, {machine['cpu']} ({machine['cpu_level']}), {threads(document)}, "
        f"float32 unless a name says otherwise, NumPy in and out. {software}."
    )


def threads(document: dict[str, Any]) -> str:
    return f"{document['threads']} thread{'' if document['threads'] == 1 else 's'}"


def cell(result: dict[str, Any]) -> str:
    value = result["p50_us"]
    text = f"{value:.1f}" if value < 100 else f"{value:.0f}"
    return f"**{text}**" if result["ratio_to_fastest"]["low"] <= 1 else text


def batch_sizes(document: dict[str, Any]) -> list[int]:
    return sorted({result["batch_size"] for result in document["results"]})


def peers(document: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(result["peer"] for result in document["results"]))


if __name__ == "__main__":
    main()
