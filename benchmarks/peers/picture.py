"""Draws the README's picture of a result: microseconds per image, a named line for each engine.

It is an SVG that follows the reader's light or dark theme, as wide as a README's column. The other
peers are in the table beside it.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_bench.html.looks import HUES
from lenet_bench.html.words import moment, name_of_level

# What the picture shows: each peer's name in it, and its hue; every family at its best.
LINES = {
    "eager": ("eager PyTorch", "ink"),
    "AOTInductor freezing + max-autotune": ("AOTInductor, tuned", "pink"),
    "OpenVINO": ("OpenVINO", "violet"),
    "onnxruntime run": ("ONNX Runtime", "blue"),
    "LiteRT XNNPACK": ("LiteRT (XNNPACK)", "amber"),
    "TVM tuned": ("TVM, tuned", "green"),
    "lenet-deploy native": ("lenet-deploy native", "vermilion"),
    "lenet-deploy native int8": ("lenet-deploy native, int8", "vermilion"),
}
# Light and dark, as in the pages of `lenet_bench.html`.
THEMES = {"paper": ("#ffffff", "#14171c"), "soft": ("#57606a", "#9aa4b2")}
THEMES |= {"line": ("#dde1e6", "#2c323b"), **HUES}
WIDTH, HEIGHT = 860, 500  # pixels
LABEL = 18  # pixels from one label to the next


def draw(document: dict[str, Any], path: Path) -> None:
    """Write the picture of a result to `path`."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = {"svg.fonttype": "none", "svg.hashsalt": "lenet", "font.family": "sans-serif"}
    with mpl.rc_context({**style, "font.size": 14 * 0.72}):
        figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
        _plot(figure, document)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    path.write_text(themed(buffer.getvalue()), encoding="utf-8")


def themed(svg: str) -> str:
    """The SVG with its light colours as variables, which a dark theme changes."""
    for name, (light, _) in THEMES.items():
        svg = svg.replace(light, f"var(--{name})")
    light, dark = (
        " ".join(f"--{name}: {values[theme]};" for name, values in THEMES.items())
        for theme in (0, 1)
    )
    css = (
        f"<style>svg {{ {light} }} @media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }} "
        "text { font-family: system-ui, 'DejaVu Sans', sans-serif !important; }</style>"
    )
    head, tag, rest = svg.partition("<defs>")
    return f"{head}{css}{tag}{rest}"


def _plot(figure: Any, document: dict[str, Any]) -> None:
    colour = {name: light for name, (light, _) in THEMES.items()}
    figure.set_facecolor(colour["paper"])
    axes = figure.add_axes((0.075, 0.12, 0.645, 0.71), facecolor=colour["paper"])
    lines = {peer: _line(document, peer) for peer in LINES}
    lines = {peer: points for peer, points in lines.items() if points}
    for peer, points in lines.items():
        label, hue = LINES[peer]
        is_ours = label.startswith("lenet-deploy")
        axes.plot(
            points.keys(), points.values(), color=colour[hue], marker="o", markersize=5.5,
            linewidth=3 if is_ours else 1.8, linestyle=(0, (2, 1)) if "int8" in label else "-",
            zorder=3 if is_ours else 2,
        )  # fmt: skip
    sizes = sorted({result["batch_size"] for result in document["results"]})
    axes.set(xscale="log", yscale="log")
    ticks = (1, 2, 5, 10, 20, 50, 100, 200, 500)
    low, high = axes.get_ylim()
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_yticks([tick for tick in ticks if low <= tick <= high])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(color=colour["line"], linewidth=0.8)
    axes.tick_params(colors=colour["soft"], length=0, pad=6)
    axes.set_xlabel("batch size (images)", color=colour["soft"], labelpad=6)
    for edge in axes.spines.values():
        edge.set_visible(False)
    _label_ends(axes, lines, colour)
    title, subtitle = headings(document)
    figure.text(0.02, 0.935, title, fontsize=17 * 0.72, weight="bold", color=colour["ink"])
    figure.text(0.02, 0.88, subtitle, color=colour["soft"])


def headings(document: dict[str, Any]) -> tuple[str, str]:
    """What the picture shows, and on which machine, under which conditions and when."""
    machine, threads = document["fingerprint"]["machine"], document["threads"]
    peak = document.get("peak_gflops")
    where = f"{machine['cpu']} with {name_of_level(machine['cpu_level'])}"
    where += f", {peak:.0f} GFLOP/s a core" if peak else ""
    when = moment(document["date"]).partition(",")[0]
    conditions = f"{threads} thread{'s' * (threads != 1)}, float32 unless named, NumPy in and out"
    return "LeNet: microseconds per image, less is faster", f"{where}; {conditions}; {when}"


def _line(document: dict[str, Any], peer: str) -> dict[int, float]:
    """Microseconds per image by batch size."""
    rows = [result for result in document["results"] if result["peer"] == peer]
    return {result["batch_size"]: result["p50_us"] / result["batch_size"] for result in rows}


def _label_ends(axes: Any, lines: dict[str, dict[int, float]], colour: dict[str, str]) -> None:
    """Name each line at its right end; labels that would touch are moved apart."""
    ends = sorted((points[max(points)], max(points), peer) for peer, points in lines.items())
    right = max(size for _, size, _ in ends)
    transform = axes.transData.transform
    heights = [float(transform((size, value))[1]) for value, size, _ in ends]
    left, edge = transform((right, 1))[0] + 34, axes.transData.inverted()
    for (value, size, peer), height in zip(ends, apart(heights, LABEL), strict=True):
        label, hue = LINES[peer]
        x, y = edge.transform((left, height))
        axes.plot([size, x], [value, y], color=colour[hue], lw=0.8, clip_on=False, zorder=1)
        axes.annotate(
            label, (x, y), xytext=(4, 0), textcoords="offset points", va="center",
            color=colour[hue], weight="bold" if label.startswith("lenet") else "normal",
            annotation_clip=False,
        )  # fmt: skip
    axes.set_xlim(right=right * 1.12)


def apart(heights: Sequence[float], least: float) -> list[float]:
    """Ascending heights, moved as little as leaves `least` between neighbours."""
    groups: list[list[float]] = []  # each the wanted places of labels that touch
    for height in heights:
        groups.append([height])
        while len(groups) > 1 and _top(groups[-2], least) + least > _bottom(groups[-1], least):
            last = groups.pop()
            groups[-1] += last
    return [_bottom(g, least) + least * place for g in groups for place in range(len(g))]


def _bottom(group: Sequence[float], least: float) -> float:
    return sum(group) / len(group) - least * (len(group) - 1) / 2


def _top(group: Sequence[float], least: float) -> float:
    return sum(group) / len(group) + least * (len(group) - 1) / 2
