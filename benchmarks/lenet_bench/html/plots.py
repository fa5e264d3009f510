"""The plots of the HTML report, as Plotly figures; None where there is nothing to show.

Every trace says in ``meta`` whose it is and at which batch size, which is how the page's own legend
hides it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_bench.html import style
from lenet_bench.html.looks import Look, looks
from lenet_bench.html.parts import digits
from lenet_bench.report import Run
from lenet_bench.result import LatencyResult

STAGES = (
    ("numpy_ms", "import numpy", "blue", ""),
    ("import_ms", "import lenet_runtime", "sky", "/"),
    ("load_ms", "load and self-test", "amber", "."),
    ("first_run_ms", "first run", "pink", "x"),
)
# A value with the lower and the upper end of its band.
Banded = tuple[float, float, float]
# The tail's axis counts nines: the share of calls that took longer is 10 to the minus this.
NINES = np.linspace(0, 3, 241)
MARKS = {0: "0", 50: "50%", 90: "90%", 99: "99%", 99.9: "99.9%"}


def latency(run: Run) -> style.Figure | None:
    """p50 of a call over the batch size, with a band from p10 to p90; None below three sizes."""
    if len(run.batch_sizes) < 3:  # per image says the same of one size, and of two more
        return None
    return _by_batch_size(run, _percentiles(whole=True), "latency of a call, p50 (µs)", "µs")


def per_image(run: Run) -> style.Figure | None:
    """p50 over the number of images, with a band from p10 to p90."""
    return _by_batch_size(
        run, _percentiles(whole=False), "latency per image, p50 (µs)", "µs per image"
    )


def speed_up(run: Run) -> style.Figure | None:
    """How many times as fast as the base line, with its 95% interval; None without others."""

    def value(result: LatencyResult) -> Banded | None:
        ratio = run.ratio(result)
        return (1 / ratio.value, 1 / ratio.high, 1 / ratio.low) if ratio else None

    if len({result.engine for result in run.results} | {run.baseline}) < 2:
        return None
    return _by_batch_size(run, value, f"speed-up over {style.text(str(run.baseline))}", "times")


def _percentiles(*, whole: bool) -> Callable[[LatencyResult], Banded]:
    def value(result: LatencyResult) -> Banded:
        images = 1 if whole else result.batch_size
        middle, low, high = (result.percentile_us(p) / images for p in (50, 10, 90))
        return middle, low, high

    return value


def _by_batch_size(
    run: Run, value: Callable[[LatencyResult], Banded | None], title: str, unit: str
) -> style.Figure | None:
    """Lines over three batch sizes and more; a row of dots for each engine below that."""
    points: dict[str, dict[int, Banded]] = {}
    for result in sorted(run.results, key=lambda result: result.batch_size):
        banded = value(result)
        if banded is not None:
            points.setdefault(result.engine, {})[result.batch_size] = banded
    if not points:
        return None
    draw = _lines if len(run.batch_sizes) > 2 else _dots
    return draw(run, points, title, unit)


def _lines(
    run: Run, points: dict[str, dict[int, Banded]], title: str, unit: str
) -> style.Figure | None:
    traces = []
    for index, (name, look) in enumerate(looks(run).items()):
        sizes = list(points.get(name, ()))
        bands = [points[name][size] for size in sizes]
        middle, low, high = (style.rounded(banded[i] for banded in bands) for i in range(3))
        traces += [
            _band(sizes, low, high, look, index),
            style.plotly().Scatter(
                x=sizes,
                y=middle,
                mode="lines+markers",
                name=style.text(name),
                meta={"engine": index},
                line=style.line(look),
                marker=style.marker(look),
                hovertemplate=f"batch %{{x}}: %{{y:,.3~r}} {unit}<extra>%{{fullData.name}}</extra>",
            ),
        ]
    return style.over_batch_sizes(traces, run.batch_sizes, title)


def _band(sizes: list[int], low: list[float], high: list[float], look: Look, index: int) -> Any:
    return style.plotly().Scatter(
        x=sizes + sizes[::-1],
        y=low + high[::-1],
        fill="toself",
        mode="lines",
        line_width=0,
        fillcolor=look.colour,
        opacity=0.15,
        hoverinfo="skip",
        meta={"engine": index},
    )


def _dots(
    run: Run, points: dict[str, dict[int, Banded]], title: str, unit: str
) -> style.Figure | None:
    """One row for each engine, the fastest on top; a dot for each batch size, named beside it."""
    known, traces = looks(run), []
    medians = {r.engine: r.percentile_us(50) for r in run.results[::-1]}
    ranked = sorted(points, key=lambda name: medians[name], reverse=True)
    is_only = len(run.batch_sizes) == 1
    for place, name in enumerate(ranked):
        sizes, look = list(points[name]), known[name]
        values = [points[name][size][0] for size in sizes]
        traces.append(
            style.plotly().Scatter(
                x=style.rounded(values),
                y=[place] * len(sizes),
                mode="lines+markers+text",
                name=style.text(name),
                text=[f"{digits(values[0])} {unit.partition(' ')[0]}"]
                if is_only
                else [f"batch {size:,}" for size in sizes],
                textposition=["top center", "bottom center"][: len(sizes)],
                customdata=sizes,
                meta={"engine": list(known).index(name)},
                line={**style.line(look), "width": 1.5},
                marker={**style.marker(look), "size": 13},
                cliponaxis=False,
                hovertemplate=f"batch %{{customdata}}: %{{x:,.3~r}} {unit}"
                "<extra>%{fullData.name}</extra>",
            )
        )
    only = f", batch {run.batch_sizes[0]:,}" if is_only else ""
    figure = style.rows_of(traces, ranked, title + only)
    figure.update_layout(height=140 + 52 * len(ranked))
    figure.update_xaxes(tickformat=",~r", **style.log_axis(traces, "x"))
    return figure


def distribution(run: Run) -> style.Figure | None:
    """The latency that a share of the calls stays below, by batch size; the first one is shown.

    The axis of shares stretches the tail: from 90% to 99% is as wide as from 99% to 99.9%. A curve
    ends where its samples do, at 98% where there are 50.
    """
    if not run.results:
        return None
    traces, known = [], looks(run)
    for result in run.results:
        end = np.log10(len(result.samples_ns))
        marks = np.array([nines for share in MARKS if 0 < (nines := _nines(share)) <= end])
        meta = {"engine": list(known).index(result.engine), "batch": result.batch_size}
        for kind, at in (("lines", NINES[end >= NINES]), ("markers", marks)):
            trace = _shares(result, at, known[result.engine])
            traces.append(trace.update(mode=kind, meta=meta))
            trace.visible = result.batch_size == run.batch_sizes[0]
    figure = style.figure_of(traces, "latency of a call (µs)")
    ticks = {"tickvals": [_nines(share) for share in MARKS], "ticktext": list(MARKS.values())}
    figure.update_xaxes(title="share of calls", range=[-0.04, 3.06], tickangle=0, **ticks)
    figure.update_yaxes(**style.log_axis(traces, "y"))
    return figure


def _shares(result: LatencyResult, nines: NDArray[np.float64], look: Look) -> Any:
    """The latency in microseconds that so many nines of the calls stay below."""
    shares = 100 - 10 ** (2 - nines)
    return style.plotly().Scatter(
        x=style.rounded(nines),
        y=style.rounded(np.percentile(result.samples_ns, shares) / 1e3) if len(shares) else [],
        line=style.line(look),
        marker=style.marker(look),
        name=style.text(result.engine),
        customdata=style.rounded(shares),
        hovertemplate="%{customdata:.4~g}% of calls took at most %{y:,.4~r} µs"
        "<extra>%{fullData.name}</extra>",
    )


def _nines(share: float) -> float:
    """Where a share of the calls, in percent, stands on the axis: 90 at 1, 99 at 2, 99.9 at 3."""
    return float(2 - np.log10(100 - share))


def cold_start(run: Run) -> style.Figure | None:
    """Milliseconds from the start of Python to the first answer, by stage."""
    if not run.cold_start:
        return None
    go, rows = style.plotly(), run.cold_start[::-1]  # the first one on top
    traces = [
        go.Bar(
            x=style.rounded(row[key] for row in rows), y=list(range(len(rows))), orientation="h",
            name=title, marker=style.bar(hue, shape),
            customdata=[style.text(row["engine"]) for row in rows],
            hovertemplate=f"%{{customdata}}<br>{title}: %{{x:,.1f}} ms<extra></extra>",
        )
        for key, title, hue, shape in STAGES
    ]  # fmt: skip
    names = [row["engine"] for row in rows]
    return style.stacked_bars(traces, names, "time to the first answer (ms)")


def scaling(run: Run, over: str) -> style.Figure | None:
    """Throughput over ``threads`` of one caller, or over ``callers`` of one thread each.

    As speed-up over one of them, so that a slow engine's line is as readable as a fast one's.
    """
    other = "callers" if over == "threads" else "threads"
    lines: dict[tuple[str, int], dict[int, dict[str, Any]]] = {}
    for row in run.scaling:
        if row[other] == 1:
            line = lines.setdefault((row.get("engine", ""), row["batch_size"]), {})
            line.setdefault(row[over], row)
    counts = sorted({count for line in lines.values() for count in line})
    if len(counts) < 2:  # nothing to compare
        return None
    known = looks(run)
    ideal = style.plotly().Scatter(
        x=counts, y=counts, mode="lines", hoverinfo="skip",
        line={"color": "var(--edge)", "dash": "dot", "width": 1.5},
    )  # fmt: skip
    traces = [ideal]
    for (name, size), line in lines.items():
        look = known.get(name, Look("slate", "square", "solid"))
        rows = [line[count] for count in sorted(line)]
        traces.append(
            style.plotly().Scatter(
                x=[row[over] for row in rows],
                y=style.rounded(row["speedup"] for row in rows),
                mode="lines+markers",
                line=style.line(look),
                marker=style.marker(look),
                name=style.text(name),
                customdata=style.rounded(row["images_per_second"] for row in rows),
                meta={"engine": list(known).index(name)} if name in known else None,
                hovertemplate=f"%{{x}} {over}, batch {size}: %{{customdata:,.0f}} images/s"
                "<extra>%{fullData.name}</extra>",
            )
        )
    figure = style.figure_of(traces, f"speed-up over one {over.removesuffix('s')}")
    figure.update_xaxes(title=over, tickvals=counts)
    figure.update_yaxes(rangemode="tozero")
    return figure
