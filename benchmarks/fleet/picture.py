"""Draws the figure of `docs/scale.md`: p99 over load, measured and simulated."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fleet.sizing import at_load
from benchmarks.peers.picture import THEMES, themed

WIDTH, HEIGHT = 860, 430  # pixels
LOADS = np.linspace(0.1, 0.94, 22)
# Workers, policy, hue, and what the line is called.
LINES = (
    (1, "least", "vermilion", "one worker"),
    (4, "round-robin", "amber", "4, round robin"),
    (16, "two-choices", "blue", "16, two choices"),
    (16, "least", "green", "16, least requests"),
)


def draw(document: dict[str, Any], path: Path) -> None:
    """Write the picture of what was recorded to `path`."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "lenet", "font.family": "sans-serif"}
    with mpl.rc_context({**style, "font.size": 14 * 0.72}):
        figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
        _plot(figure, document)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    path.write_text(themed(buffer.getvalue()), encoding="utf-8")


def _plot(figure: Any, document: dict[str, Any]) -> None:
    colour = {name: light for name, (light, _) in THEMES.items()}
    figure.set_facecolor(colour["paper"])
    axes = figure.add_axes((0.085, 0.14, 0.72, 0.68), facecolor=colour["paper"])
    body = document["bodies"]["binary"]
    for workers, policy, hue, label in LINES:
        p99 = [at_load(body, load, workers, policy).percentile_us(99) for load in LOADS]
        axes.plot(LOADS, p99, color=colour[hue], linewidth=2.2)
        axes.annotate(label, (LOADS[-1], p99[-1]), xytext=(6, 0), textcoords="offset points",
                      va="center", color=colour[hue], annotation_clip=False)  # fmt: skip
    rows = [r for r in document["validation"] if (r["body"], r["workers"]) == ("binary", 1)]
    axes.plot([r["load"] for r in rows], [r["measured_p99_us"] for r in rows], "o",
              color=colour["ink"], markersize=7)  # fmt: skip
    place = rows[1]["load"], rows[1]["measured_p99_us"]
    axes.annotate("measured,\none worker", place, xytext=(-10, 26), textcoords="offset points",
                  color=colour["ink"])  # fmt: skip
    axes.set(yscale="log", xlim=(0.08, 0.95), ylim=(140, 5000))
    axes.set_yticks([200, 500, 1000, 2000, 5000])
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(color=colour["line"], linewidth=0.8)
    axes.tick_params(colors=colour["soft"], length=0, pad=6)
    axes.set_xlabel("load: share of what the workers can answer", color=colour["soft"])
    for edge in axes.spines.values():
        edge.set_visible(False)
    machine = document["fingerprint"]["machine"]
    figure.text(0.02, 0.93, "p99 in microseconds over load: lines simulated, points measured",
                fontsize=16 * 0.72, weight="bold", color=colour["ink"])  # fmt: skip
    figure.text(0.02, 0.875, f"one digit a request, binary tensors, HTTP; {machine['cpu']} "
                f"({machine['cpu_level']}), {document['date']}", color=colour["soft"])  # fmt: skip
