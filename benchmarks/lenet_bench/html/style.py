"""How the HTML report looks: its plots, its tables, and figures as text.

Engines keep one look on the whole page: colour, marker and dash differ together, so that no reader
depends on colour alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from lenet_bench.report import Run
from lenet_runtime.errors import BackendUnavailable
from lenet_runtime.version import pip_install

# The colours of Okabe and Ito, which stay apart for every kind of colour vision; black is the base
# line's, and yellow is left out, which white paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
# Seven against six colours: 42 engines look different.
MARKERS = {
    "square": "■", "triangle-up": "▲", "diamond": "◆", "cross": "✚", "triangle-down": "▼",
    "x": "✖", "star": "★",
}  # fmt: skip
DASHES = ("solid", "dash", "dashdot")
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


@dataclass(frozen=True)
class Look:
    """How one engine is drawn."""

    colour: str
    marker: str
    glyph: str
    dash: str


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


def looks(run: Run) -> dict[str, Look]:
    """A look for each engine that was measured, in the order of measurement."""
    chosen: dict[str, Look] = {}
    markers = list(MARKERS.items())
    for name in dict.fromkeys(result.engine for result in run.results):
        if name == run.baseline:
            chosen[name] = Look("#000000", "circle", "●", "dot")
        else:
            index = len(chosen) - (run.baseline in chosen)
            marker, glyph = markers[index % len(markers)]
            dash = DASHES[index // len(COLOURS) % len(DASHES)]
            chosen[name] = Look(COLOURS[index % len(COLOURS)], marker, glyph, dash)
    return chosen


def figure_of(traces: list[Any], title: str, height: int = 420) -> Figure:
    """A figure in the page's style."""
    figure = plotly().Figure(traces)
    figure.update_layout(
        template="plotly_white", height=height, showlegend=False, hovermode="closest",
        margin={"l": 10, "r": 10, "t": 36, "b": 10}, font={"size": 13, "color": "#222"},
        hoverlabel={"namelength": -1},
    )  # fmt: skip
    axis = {"automargin": True, "linecolor": "#888", "ticks": "outside", "gridcolor": "#e4e4e4"}
    figure.update_xaxes(**axis)
    figure.update_yaxes(title=title, tickformat=",~r", **axis)
    return figure


def stacked_bars(traces: list[Any], names: Iterable[str], title: str) -> Figure:
    """Stacked horizontal bars, one for each name from the bottom up, with a legend below."""
    labels = [text(clipped(name)) for name in names]
    figure = figure_of(traces, "", height=150 + 38 * len(labels))
    figure.update_layout(
        barmode="stack", showlegend=True,
        legend={"orientation": "h", "yref": "container", "y": 0, "x": 0, "traceorder": "normal"},
    )  # fmt: skip
    figure.update_xaxes(title=title, rangemode="tozero")
    figure.update_yaxes(tickvals=list(range(len(labels))), ticktext=labels, showgrid=False)
    return figure


def log_ticks(values: list[float]) -> dict[str, Any]:
    """Ticks at 1, 2 and 5 of each decade, and closer ones where the values span less than ten."""
    digits = (1, 2, 5) if max(values) > 10 * min(values) else (1, 1.5, 2, 3, 4, 5, 7)
    return {"tickvals": [digit * 10.0**power for power in range(-3, 9) for digit in digits]}


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
    figure.update_yaxes(type="log", **log_ticks([y for trace in traces for y in trace.y]))
    return figure


def line(look: Look) -> Mapping[str, Any]:
    """The line of a scatter plot."""
    return {"color": look.colour, "dash": look.dash, "width": 2}


def marker(look: Look) -> Mapping[str, Any]:
    """The markers of a scatter plot."""
    return {"color": look.colour, "symbol": look.marker, "size": 9}


def transparent(colour: str) -> str:
    """The colour of a band around a line."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.12)"


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
    name = title.lower().replace(" ", "-")
    yield f'<h2>{title}</h2>\n<p class="note">{note} {control}</p>'
    yield figure.to_html(
        config=CONFIG,
        include_plotlyjs=False,
        full_html=False,
        default_height=f"{figure.layout.height}px",
        div_id=name,
    )


def row(name: str, cells: Iterable[str], kind: str = "") -> str:
    """A row of a table: a name, then the cells, all text; `kind` is its class."""
    rest = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr class="{kind}"><td class="name">{escape(name)}</td>{rest}</tr>'


def listed(skipped: Iterable[Mapping[str, str]]) -> str:
    """A list of engines that were skipped, each with its reason."""
    items = (f"<li>{escape(s['engine'])}: {escape(s['reason'])}</li>" for s in skipped)
    return f"<ul>{''.join(items)}</ul>"


def as_table(heads: Sequence[str], rows: Iterable[str]) -> str:
    """A table that scrolls by itself on a narrow screen; rows are HTML, heads are text."""
    head = "".join(
        f"<th{' class=name' * (not place)}>{escape(name)}</th>" for place, name in enumerate(heads)
    )
    body = "\n".join(rows)
    table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def shown(value: float | None) -> str:
    """At most four digits behind the first, as many as a latency is good for."""
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.1f}" if value >= 1 else f"{value:.3f}"
