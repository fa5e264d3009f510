"""The plots of the HTML report, as Plotly figures; None where there is nothing to show.

Engines keep one look on the whole page: colour, marker and dash differ together, so that no reader
depends on colour alone. Every trace says in ``meta`` whose it is and at which batch size, which is
how the page's own legend hides it.
"""

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lenet_bench.report import Run
from lenet_runtime.errors import BackendUnavailable

# The colours of Okabe and Ito, which stay apart for every kind of colour vision; black is the base
# line's, and yellow is left out, which white paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
# Seven against six colours: 42 engines look different.
MARKERS = {
    "square": "■", "triangle-up": "▲", "diamond": "◆", "cross": "✚", "triangle-down": "▼",
    "x": "✖", "star": "★",
}  # fmt: skip
DASHES = ("solid", "dash", "dashdot")
STAGES = (
    ("numpy_ms", "import numpy", "#0072B2", ""),
    ("import_ms", "import lenet_runtime", "#56B4E9", "/"),
    ("load_ms", "load and self-test", "#E69F00", "."),
    ("first_run_ms", "first run", "#CC79A7", "x"),
)
# Enough points for a smooth curve, closer in the tail, instead of every raw sample.
LEVELS = np.concatenate([np.linspace(0, 98.5, 198), np.linspace(98.6, 99.9, 14)])
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
        raise BackendUnavailable(
            "the HTML report needs plotly; pip install 'lenet-deploy[bench]'"
        ) from error
    return plotly.graph_objects


def looks(run: Run) -> dict[str, Look]:
    """A look for each engine that was measured, in the order of measurement."""
    made: dict[str, Look] = {}
    markers = list(MARKERS.items())
    for name in dict.fromkeys(result.engine for result in run.results):
        if name == run.baseline:
            made[name] = Look("#000000", "circle", "●", "dot")
        else:
            index = len(made) - (run.baseline in made)
            marker, glyph = markers[index % len(markers)]
            dash = DASHES[index // len(COLOURS) % len(DASHES)]
            made[name] = Look(COLOURS[index % len(COLOURS)], marker, glyph, dash)
    return made


def latency(run: Run) -> Figure | None:
    """p50 over the batch size, with a band from p10 to p90."""
    return _over_batch_size(
        run,
        lambda result, percent: result.percentile_us(percent),
        "latency of a call, p50 (µs)",
        "%{y:,.1f} µs",
    )


def throughput(run: Run) -> Figure | None:
    """Images per second over the batch size, with the band that belongs to p10 to p90."""
    return _over_batch_size(
        run,
        lambda result, percent: result.batch_size / result.percentile_us(percent) * 1e6,
        "throughput at p50 (images/s)",
        "%{y:,.0f} images/s",
    )


def _over_batch_size(run: Run, value: Any, title: str, hover: str) -> Figure | None:
    if len(run.batch_sizes) < 2:  # a line needs two points
        return None
    go, traces = plotly(), []
    for index, (name, look) in enumerate(looks(run).items()):
        results = sorted((r for r in run.results if r.engine == name), key=lambda r: r.batch_size)
        sizes = [r.batch_size for r in results]
        low, middle, high = ([value(r, percent) for r in results] for percent in (10, 50, 90))
        meta = {"engine": index}
        traces.append(
            go.Scatter(
                x=sizes + sizes[::-1],
                y=low + high[::-1],
                fill="toself",
                mode="lines",
                line_width=0,
                fillcolor=_transparent(look.colour),
                hoverinfo="skip",
                meta=meta,
            )
        )
        traces.append(
            go.Scatter(
                x=sizes,
                y=middle,
                mode="lines+markers",
                name=text(name),
                meta=meta,
                line=_line(look),
                marker=_marker(look),
                hovertemplate=f"batch %{{x}}: {hover}<extra>%{{fullData.name}}</extra>",
            )
        )
    figure = figure_of(traces, title)
    ticks = apart(run.batch_sizes)
    figure.update_xaxes(title="batch size (images in a call)", type="log", **ticks)
    figure.update_yaxes(type="log", **log_ticks([y for trace in traces for y in trace.y]))
    return figure


def distribution(run: Run) -> Figure | None:
    """Share of calls that took at most so long, for each batch size; the first one is shown."""
    if not run.results:
        return None
    go, traces, numbers = plotly(), [], {name: i for i, name in enumerate(looks(run))}
    for result in run.results:
        look = looks(run)[result.engine]
        curve = np.percentile(result.samples_ns, LEVELS) / 1e3
        traces.append(
            go.Scatter(
                x=_short(curve),
                y=_short(LEVELS),
                mode="lines",
                line=_line(look),
                name=text(result.engine),
                visible=result.batch_size == run.batch_sizes[0],
                meta={"engine": numbers[result.engine], "batch": result.batch_size},
                hovertemplate="%{y:.1f}% of calls: %{x:,.1f} µs<extra>%{fullData.name}</extra>",
            )
        )
        marks = np.array([50.0, 90.0, 99.0])
        traces.append(
            go.Scatter(
                x=_short(np.percentile(result.samples_ns, marks) / 1e3),
                y=marks.tolist(),
                mode="markers",
                marker=_marker(look),
                hoverinfo="skip",
                visible=result.batch_size == run.batch_sizes[0],
                meta={"engine": numbers[result.engine], "batch": result.batch_size},
            )
        )
    figure = figure_of(traces, "share of calls (%)")
    ticks = log_ticks([x for trace in traces if trace.visible for x in trace.x])
    figure.update_xaxes(title="latency of a call (µs)", type="log", tickformat=",~r", **ticks)
    figure.update_yaxes(range=[0, 101], tickvals=[0, 25, 50, 75, 90, 99], tickformat="d")
    return figure


def cold_start(run: Run) -> Figure | None:
    """Milliseconds from the start of Python to the first answer, by stage."""
    if not run.cold_start:
        return None
    go, rows = plotly(), run.cold_start[::-1]  # the first one on top
    traces = [
        go.Bar(
            x=[row[key] for row in rows], y=list(range(len(rows))), orientation="h",
            name=title, marker={"color": colour, "pattern": {"shape": pattern, "size": 5}},
            customdata=[text(row["engine"]) for row in rows],
            hovertemplate=f"%{{customdata}}<br>{title}: %{{x:,.1f}} ms<extra></extra>",
        )
        for key, title, colour, pattern in STAGES
    ]  # fmt: skip
    figure = figure_of(traces, "", height=150 + 38 * len(rows))
    names = [text(clipped(row["engine"])) for row in rows]
    figure.update_layout(
        barmode="stack", hovermode="closest", showlegend=True,
        legend={"orientation": "h", "yref": "container", "y": 0, "x": 0, "traceorder": "normal"},
    )  # fmt: skip
    figure.update_xaxes(title="time to the first answer (ms)", rangemode="tozero")
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=names, showgrid=False)
    return figure


def scaling(run: Run, over: str) -> Figure | None:
    """Throughput over ``threads`` of one caller, or over ``callers`` of one thread each."""
    other = "callers" if over == "threads" else "threads"
    lines: dict[tuple[str, int], dict[int, float]] = {}
    for row in run.scaling:
        if row[other] == 1:
            line = lines.setdefault((row.get("engine", ""), row["batch_size"]), {})
            line.setdefault(row[over], row["images_per_second"])
    counts = sorted({count for line in lines.values() for count in line})
    if len(counts) < 2:  # a line needs two points
        return None
    known, traces = looks(run), []
    spare = Look(COLOURS[0], "square", "■", "solid")
    for (name, size), line in lines.items():
        look = known.get(name, spare)
        traces.append(
            plotly().Scatter(
                x=sorted(line),
                y=[line[count] for count in sorted(line)],
                mode="lines+markers",
                line=_line(look),
                marker=_marker(look),
                name=text(name),
                meta={"engine": list(known).index(name)} if name in known else None,
                hovertemplate=f"%{{x}} {over}, batch {size}: %{{y:,.0f}} images/s"
                "<extra>%{fullData.name}</extra>",
            )
        )
    figure = figure_of(traces, "throughput (images/s)")
    figure.update_xaxes(title=over, tickvals=counts)
    figure.update_yaxes(rangemode="tozero")
    return figure


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


def _line(look: Look) -> Mapping[str, Any]:
    return {"color": look.colour, "dash": look.dash, "width": 2}


def _marker(look: Look) -> Mapping[str, Any]:
    return {"color": look.colour, "symbol": look.marker, "size": 9}


def _transparent(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.12)"


def _short(values: Any) -> list[float]:
    """Six digits, more than a screen can show, so that the page stays small."""
    return [float(f"{value:.6g}") for value in values]


def text(name: str) -> str:
    """A foreign name: Plotly takes some HTML in its labels, and this must not be any."""
    return html.escape(name, quote=False)


def clipped(name: str, width: int = 22) -> str:
    """Both ends of a long name: names that begin alike, as paths do, differ in the end."""
    half = width // 2
    return name if len(name) <= width else f"{name[: half - 1]}…{name[-half:]}"
