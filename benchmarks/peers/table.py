"""Makes the Markdown table and the plot of a result.

python -m benchmarks.peers.table RESULT.json [--plot FILE.png]
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

# One colour for each family of peers, of Okabe and Ito's palette, which suits colour-blind people.
FAMILIES = {
    "lenet-deploy": "#D55E00",
    "onnxruntime": "#0072B2",
    "TVM": "#009E73",
    "LiteRT": "#E69F00",
    "ExecuTorch": "#CC79A7",
    "OpenVINO": "#56B4E9",
    "AOTInductor": "#000000",
    "TorchScript": "#7A7A7A",
    "torch.compile": "#000000",
    "eager": "#7A7A7A",
}
MARKERS = "os^DvPX*"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path, metavar="RESULT.json")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="beside the result if absent")
    arguments = parser.parse_args()
    document = json.loads(arguments.result.read_text())
    table = markdown(document)
    arguments.result.with_suffix(".md").write_text(table + "\n")
    print(table)
    plot(document, arguments.plot or arguments.result.with_suffix(".png"))


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


def plot(document: dict[str, Any], path: Path) -> None:
    """Plot the latency per image over the batch size, both logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9.5, 6), layout="constrained")
    markers = {family: iter(MARKERS) for family in FAMILIES}
    for peer in peers(document):
        family = next(name for name in FAMILIES if peer.startswith(name))
        is_ours, is_dashed = family == "lenet-deploy", family in ("AOTInductor", "TorchScript")
        points = [(r["batch_size"], r["p50_us"]) for r in document["results"] if r["peer"] == peer]
        axes.plot(
            [size for size, _ in points],
            [value / size for size, value in points],
            color=FAMILIES[family],
            marker=next(markers[family]),
            linestyle="--" if is_dashed else "-",
            linewidth=2.6 if is_ours else 1.1,
            markersize=7 if is_ours else 5,
            markerfacecolor="white" if is_dashed else None,
            zorder=3 if is_ours else 2,
            label=peer,
        )
    axes.set(xscale="log", yscale="log", xlabel="batch size", ylabel="us per image (median)")
    low, high = axes.get_ylim()
    ticks = [value for value in (2, 3, 5, 10, 20, 30, 50, 100) if low <= value <= high]
    axes.set_xticks(batch_sizes(document), map(str, batch_sizes(document)))
    axes.set_yticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.grid(color="#DDDDDD")
    axes.set_title(f"LeNet, float32 unless named, {threads(document)}, {document['date']}")
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
