"""How the plots of the HTML report look: Plotly's figures, their axes and bars.

Colours are CSS variables, which the page's script replaces by those of the reader's theme.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from lenet_bench.html.looks import Look
from lenet_runtime.errors import BackendUnavailable
from lenet_runtime.version import pip_install

# Plotly's own buttons would offer to send the measurements to its cloud.
CONFIG = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
    "plotlyServerURL": "",
    "responsive": True,
    "showSendToCloud": False,
}

# Plotly publishes no types.
Figure = Any


def plotly() -> Any:
    """The module `plotly.graph_objects`.

    Raises:
        BackendUnavailable: plotly is not installed.
    """
    try:
        import plotly.graph_objects
    except ImportError as error:
        raise BackendUnavailable(f"the HTML report needs plotly; {pip_install('bench')}") from error
    return plotly.graph_objects


def packed_plotly() -> str:
    """plotly.js, deflated and in base64: 2 MB instead of 5, which the page's script unpacks."""
    plotly()
    from plotly.offline import get_plotlyjs

    return base64.b64encode(zlib.compress(get_plotlyjs().encode(), 9)).decode()


def figure_of(traces: list[Any], title: str) -> Figure:
    """A figure in the page's style, as high as the page makes it."""
    figure = plotly().Figure(traces)
    figure.update_layout(
        template=None, showlegend=False, hovermode="closest",
        margin={"l": 8, "r": 12, "t": 30, "b": 8},
        font={"size": 13, "color": "var(--ink)", "family": "system-ui, sans-serif"},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"namelength": -1},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "var(--edge)", "activecolor": "var(--ink)"},
    )  # fmt: skip
    axis = {
        "automargin": True, "linecolor": "var(--edge)", "ticks": "outside",
        "tickcolor": "var(--edge)", "gridcolor": "var(--line)", "zeroline": False,
    }  # fmt: skip
    figure.update_xaxes(**axis)
    figure.update_yaxes(title=title, tickformat=",~r", **axis)
    return figure


def stacked_bars(traces: list[Any], names: Iterable[str], title: str) -> Figure:
    """Stacked horizontal bars, one for each name from the bottom up, with a legend below."""
    figure = rows_of(traces, names, title)
    figure.update_layout(
        barmode="stack", showlegend=True,
        legend={"orientation": "h", "yref": "container", "y": 0, "x": 0, "traceorder": "normal"},
    )  # fmt: skip
    figure.update_xaxes(rangemode="tozero")
    return figure


def rows_of(traces: list[Any], names: Iterable[str], title: str) -> Figure:
    """A figure with a row for each name from the bottom up, as high as they need."""
    labels = [text(clipped(name)) for name in names]
    figure = figure_of(traces, "")
    figure.update_layout(height=150 + 38 * len(labels))
    figure.update_xaxes(title=title)
    figure.update_yaxes(
        tickvals=list(range(len(labels))), ticktext=labels, range=[-0.6, len(labels) - 0.4]
    )
    return figure


def log_axis(traces: Iterable[Any], axis: str) -> dict[str, Any]:
    """A logarithmic axis for the values of the traces, or a linear one if all are about alike.

    Ticks are at 1, 2 and 5 of each decade, and closer where the values span less than ten.
    """
    values = [value for trace in traces for value in trace[axis]]
    if not values or max(values) < 2 * min(values):
        return {"type": "linear"}
    digits = (1, 2, 5) if max(values) > 10 * min(values) else (1, 1.5, 2, 3, 4, 5, 7)
    ticks = [digit * 10.0**power for power in range(-3, 9) for digit in digits]
    return {"type": "log", "tickvals": ticks}


def apart(sizes: Iterable[int]) -> dict[str, Any]:
    """Ticks at the measured batch sizes, without labels that would touch on a narrow screen."""
    labels: list[str] = []
    last = 0.0
    for size in sizes:
        shown = size >= 1.7 * last
        labels.append(f"{size:,}" if shown else "")
        last = size if shown else last
    return {"tickvals": list(sizes), "ticktext": labels, "minor_showgrid": False}


def over_batch_sizes(traces: list[Any], sizes: Sequence[int], title: str) -> Figure:
    """A figure of lines over the batch size, both axes logarithmic."""
    figure = figure_of(traces, title)
    figure.update_xaxes(title="batch size (images)", type="log", **apart(sizes))
    figure.update_yaxes(**log_axis(traces, "y"))
    return figure


def bar(hue: str, shape: str) -> Mapping[str, Any]:
    """The fill of a bar: a hue and a pattern, so that no reader depends on colour alone."""
    pattern = {"shape": shape, "size": 6, "fillmode": "overlay", "fgcolor": "var(--paper)"}
    return {"color": f"var(--{hue})", "pattern": {**pattern, "fgopacity": 0.7}}


def line(look: Look) -> Mapping[str, Any]:
    """The line of a scatter plot."""
    return {"color": look.colour, "dash": look.dash, "width": 2.5}


def marker(look: Look) -> Mapping[str, Any]:
    """The markers of a scatter plot."""
    line = {"color": "var(--paper)", "width": 1}
    size = 13 if "triangle" in look.marker else 11
    return {"color": look.colour, "symbol": look.marker, "size": size, "line": line}


def rounded(values: Any) -> list[float]:
    """Six digits, more than a screen can show, so that the page stays small."""
    return [float(f"{value:.6g}") for value in values]


def text(name: str) -> str:
    """A foreign name: Plotly takes some HTML in its labels, and this must not be any."""
    return escape(name, quote=False)


def clipped(name: str, width: int = 22) -> str:
    """Both ends of a long name: names that begin alike, as paths do, differ in the end."""
    half = width // 2
    return name if len(name) <= width else f"{name[: half - 1]}…{name[-half:]}"


def plot(title: str, figure: Figure | None, note: str, control: str = "") -> Iterable[str]:
    """A plot under its heading; nothing where there is none."""
    if figure is None:
        return
    height = figure.layout.height
    size = f' style="height: {height}px"' if height else ""
    figure_json = figure.to_json()[:-1].replace("<", "\\u003c")
    yield (
        f'<figure class="plot"><h3>{title}</h3>\n<p class="note">{note} {control}</p>\n'
        f'<script type="application/json">{figure_json}, "config": {json.dumps(CONFIG)}}}</script>'
        f'<div id="{title.lower().replace(" ", "-")}"{size}></div></figure>'
    )
