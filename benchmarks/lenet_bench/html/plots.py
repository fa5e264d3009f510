"""The plots of the HTML report, as Plotly figures; None where there is nothing to show.

Every trace says in ``meta`` whose it is and at which batch size, which is how the page's own legend
hides it.
"""

from typing import Any

import numpy as np

from lenet_bench.html import style
from lenet_bench.report import Run

STAGES = (
    ("numpy_ms", "import numpy", "#0072B2", ""),
    ("import_ms", "import lenet_runtime", "#56B4E9", "/"),
    ("load_ms", "load and self-test", "#E69F00", "."),
    ("first_run_ms", "first run", "#CC79A7", "x"),
)
# Enough points for a smooth curve, closer in the tail, instead of every raw sample.
LEVELS = np.concatenate([np.linspace(0, 98.5, 198), np.linspace(98.6, 99.9, 14)])


def latency(run: Run) -> style.Figure | None:
    """p50 over the batch size, with a band from p10 to p90."""
    return _over_batch_size(
        run,
        lambda result, percent: result.percentile_us(percent),
        "latency of a call, p50 (µs)",
        "%{y:,.1f} µs",
    )


def throughput(run: Run) -> style.Figure | None:
    """Images per second over the batch size, with the band that belongs to p10 to p90."""
    return _over_batch_size(
        run,
        lambda result, percent: result.batch_size / result.percentile_us(percent) * 1e6,
        "throughput at p50 (images/s)",
        "%{y:,.0f} images/s",
    )


def _over_batch_size(run: Run, value: Any, title: str, hover: str) -> style.Figure | None:
    if len(run.batch_sizes) < 2:  # a line needs two points
        return None
    go, traces = style.plotly(), []
    for index, (name, look) in enumerate(style.looks(run).items()):
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
                fillcolor=style.transparent(look.colour),
                hoverinfo="skip",
                meta=meta,
            )
        )
        traces.append(
            go.Scatter(
                x=sizes,
                y=middle,
                mode="lines+markers",
                name=style.text(name),
                meta=meta,
                line=style.line(look),
                marker=style.marker(look),
                hovertemplate=f"batch %{{x}}: {hover}<extra>%{{fullData.name}}</extra>",
            )
        )
    return style.over_batch_sizes(traces, run.batch_sizes, title)


def distribution(run: Run) -> style.Figure | None:
    """Share of calls that took at most so long, for each batch size; the first one is shown."""
    if not run.results:
        return None
    go, traces, numbers = style.plotly(), [], {name: i for i, name in enumerate(style.looks(run))}
    for result in run.results:
        look = style.looks(run)[result.engine]
        curve = np.percentile(result.samples_ns, LEVELS) / 1e3
        traces.append(
            go.Scatter(
                x=style.rounded(curve),
                y=style.rounded(LEVELS),
                mode="lines",
                line=style.line(look),
                name=style.text(result.engine),
                visible=result.batch_size == run.batch_sizes[0],
                meta={"engine": numbers[result.engine], "batch": result.batch_size},
                hovertemplate="%{y:.1f}% of calls: %{x:,.1f} µs<extra>%{fullData.name}</extra>",
            )
        )
        marks = np.array([50.0, 90.0, 99.0])
        traces.append(
            go.Scatter(
                x=style.rounded(np.percentile(result.samples_ns, marks) / 1e3),
                y=marks.tolist(),
                mode="markers",
                marker=style.marker(look),
                hoverinfo="skip",
                visible=result.batch_size == run.batch_sizes[0],
                meta={"engine": numbers[result.engine], "batch": result.batch_size},
            )
        )
    figure = style.figure_of(traces, "share of calls (%)")
    ticks = style.log_ticks([x for trace in traces if trace.visible for x in trace.x])
    figure.update_xaxes(title="latency of a call (µs)", type="log", tickformat=",~r", **ticks)
    figure.update_yaxes(range=[0, 101], tickvals=[0, 25, 50, 75, 90, 99], tickformat="d")
    return figure


def cold_start(run: Run) -> style.Figure | None:
    """Milliseconds from the start of Python to the first answer, by stage."""
    if not run.cold_start:
        return None
    go, rows = style.plotly(), run.cold_start[::-1]  # the first one on top
    traces = [
        go.Bar(
            x=[row[key] for row in rows], y=list(range(len(rows))), orientation="h",
            name=title, marker={"color": colour, "pattern": {"shape": pattern, "size": 5}},
            customdata=[style.text(row["engine"]) for row in rows],
            hovertemplate=f"%{{customdata}}<br>{title}: %{{x:,.1f}} ms<extra></extra>",
        )
        for key, title, colour, pattern in STAGES
    ]  # fmt: skip
    names = [row["engine"] for row in rows]
    return style.stacked_bars(traces, names, "time to the first answer (ms)")


def scaling(run: Run, over: str) -> style.Figure | None:
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
    known, traces = style.looks(run), []
    spare = style.Look(style.COLOURS[0], "square", "■", "solid")
    for (name, size), line in lines.items():
        look = known.get(name, spare)
        traces.append(
            style.plotly().Scatter(
                x=sorted(line),
                y=[line[count] for count in sorted(line)],
                mode="lines+markers",
                line=style.line(look),
                marker=style.marker(look),
                name=style.text(name),
                meta={"engine": list(known).index(name)} if name in known else None,
                hovertemplate=f"%{{x}} {over}, batch {size}: %{{y:,.0f}} images/s"
                "<extra>%{fullData.name}</extra>",
            )
        )
    figure = style.figure_of(traces, "throughput (images/s)")
    figure.update_xaxes(title=over, tickvals=counts)
    figure.update_yaxes(rangemode="tozero")
    return figure
