"""The plots of the page about an open loop, as Plotly figures; None where there is nothing."""

from typing import Any

import numpy as np

from lenet_bench.html import style
from lenet_bench.html.looks import Look, looks_of
from lenet_bench.openloop.report import LoadRun
from lenet_bench.openloop.result import RateResult

# Of each percentile: the dash of its line.
DASHES = {50.0: "solid", 99.0: "longdash", 99.9: "dash", 99.99: "dot"}
_MOST_BINS, _BIN_SECONDS = 1500, 0.01


def looks(run: LoadRun) -> dict[str, Look]:
    """How each target is drawn."""
    return looks_of(run.targets, run.targets)


def over_rate(run: LoadRun) -> style.Figure | None:
    """p50 to p99.99 over the offered rate, with each target's knee and the limit of p99."""
    traces: list[Any] = []
    for index, (name, look) in enumerate(looks(run).items()):
        for percent, dash in DASHES.items():
            points = [(r, v) for r in run.of(name) if (v := r.figure_us(percent)) is not None]
            if points:
                traces.append(_percentile(points, percent, look, dash, index))
        traces += _knee(run, name, look, index)
    if not traces:
        return None
    figure = style.figure_of(traces, "latency from the intended start (µs)")
    figure.update_xaxes(
        title="requests offered a second", tickformat=",~r", **style.log_axis(traces, "x")
    )
    figure.update_yaxes(**style.log_axis(traces, "y"))
    if limit := run.settings.p99_limit_us:
        figure.add_hline(
            y=limit, line={"color": "var(--edge)", "dash": "dot", "width": 1.5},
            annotation={"text": "limit of p99", "font": {"color": "var(--soft)"}},
        )  # fmt: skip
    return figure


def _percentile(
    points: list[tuple[RateResult, float]], percent: float, look: Look, dash: str, index: int
) -> Any:
    return style.plotly().Scatter(
        x=[result.rate for result, _ in points],
        y=style.rounded(value for _, value in points),
        mode="lines+markers",
        name=style.text(points[0][0].target),
        meta={"engine": index},
        line={**style.line(look), "dash": dash, "width": 2.5 if percent == 50 else 1.8},
        marker={**style.marker(look), "size": 9},
        hovertemplate=f"%{{x:,.0f}}/s: p{percent:g} %{{y:,.4~r}} µs"
        "<extra>%{fullData.name}</extra>",
    )


def _knee(run: LoadRun, name: str, look: Look, index: int) -> list[Any]:
    knee = run.knee(name)
    if knee is None or (value := knee.percentile_us(99)) is None:
        return []
    ring = {"color": "var(--ink)", "symbol": "circle-open", "size": 22, "line": {"width": 2}}
    return [
        style.plotly().Scatter(
            x=[knee.rate], y=style.rounded([value]), mode="markers+text", marker=ring,
            text=["&nbsp; knee"], textposition="middle right", textfont={"color": look.colour},
            name=style.text(name), meta={"engine": index},
            hovertemplate="knee at %{x:,.0f}/s<extra>%{fullData.name}</extra>",
        )
    ]  # fmt: skip


def over_time(run: LoadRun) -> style.Figure | None:
    """The longest latency in each moment of the windows, by rate; the first one is shown."""
    known, traces = looks(run), []
    for result in run.results:
        seconds, longest = _longest(result)
        index = list(known).index(result.target)
        look = known[result.target]
        traces.append(
            style.plotly().Scatter(
                x=style.rounded(seconds), y=style.rounded(longest), mode="lines",
                line={"color": look.colour, "width": 1.2}, name=style.text(result.target),
                meta={"engine": index, "batch": f"{result.rate:g}"},
                visible=result.rate == run.results[0].rate,
                hovertemplate="after %{x:.2f} s: %{y:,.4~r} µs<extra>%{fullData.name}</extra>",
            )
        )  # fmt: skip
    if not traces:
        return None
    figure = style.figure_of(traces, "longest latency (µs)")
    figure.update_xaxes(title="seconds of the target's windows")
    figure.update_yaxes(**style.log_axis(traces, "y"))
    return figure


def _longest(result: RateResult) -> tuple[list[float], list[float]]:
    """The middle of each bin with requests, and the longest latency in it, in microseconds."""
    width = max(_BIN_SECONDS, result.seconds * len(result.windows) / _MOST_BINS)
    most: dict[int, float] = {}
    for place, window in enumerate(result.windows):
        moments = place * result.seconds + window.due / 1e9
        for moment, ns in zip((moments / width).astype(int), window.latency, strict=True):
            if np.isfinite(ns):
                most[int(moment)] = max(most.get(int(moment), 0.0), float(ns) / 1e3)
    bins = sorted(most)
    return [(place + 0.5) * width for place in bins], [most[place] for place in bins]
