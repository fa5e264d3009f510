"""The HTML report's part about a GPU: its own time per batch size, and where a call's time goes."""

from collections.abc import Iterable
from dataclasses import replace
from html import escape

from lenet_bench.gpu.result import FIGURES, MOSTLY, DeviceResult, DeviceSection
from lenet_bench.html import style
from lenet_bench.html.looks import looks
from lenet_bench.html.parts import as_table, listed, row, shown
from lenet_bench.html.style import plot
from lenet_bench.report import Run

# Python last: it may be negative, and then the others reach beyond the whole.
PARTS = (
    ("compute_us", "compute", "blue", ""),
    ("copy_us", "copy", "sky", "/"),
    ("launch_us", "launch", "amber", "."),
    ("python_us", "Python", "pink", "x"),
)
_HEADS = (
    "batch", "device (µs)", "single (µs)", "launch (µs)", "upload (µs)", "download (µs)",
    "images/s", "memory bound",
)  # fmt: skip


def section(run: Run) -> Iterable[str]:
    """Plots and tables of a run on a GPU; nothing of one on a CPU."""
    if run.device is None:
        return
    yield '<h2>On the GPU</h2><div class="plots">'
    yield from plot(
        "Device latency over batch size",
        device_latency(run, run.device),
        "The GPU's own time, p50: images and logits in device memory, launches hidden. Hollow "
        "markers: launched as a CUDA graph.",
    )
    yield from plot(
        "Where the time of a call goes",
        split(run, run.device),
        "Of one call from NumPy to NumPy, at the batch size that is chosen under Distribution. "
        "Python is what the other parts leave of the whole; where they overlap it is too small, "
        "and not drawn where negative.",
    )
    yield "</div>"
    rows = [row for size in run.batch_sizes for row in _rows(run.device, size)]
    yield as_table(("engine", *_HEADS), rows)
    yield (
        '<p class="note">Medians. Device: the kernels alone, back to back. Single: one launch on '
        "an idle stream. Launch: the host's time in it. Memory bound: the time to read the images "
        "once, over device. ~ the rate of the host's launches, which were not all queued in "
        "time.</p>"
    )
    yield from _state(run.device)
    if run.device.skipped:
        yield f"<h2>Steps not measured</h2>\n{listed(run.device.skipped)}"


def _rows(section: DeviceSection, size: int) -> Iterable[str]:
    group = sorted((r for r in section.results if r.batch_size == size), key=lambda r: r.p50_us())
    for place, result in enumerate(group):
        name = result.name + " ~" * (result.hidden_share < MOSTLY)
        yield row(name, _cells(section, result), "first" * (place == 0))


def _cells(section: DeviceSection, result: DeviceResult) -> Iterable[str]:
    rate = section.bytes_per_second
    yield f"{result.batch_size:,}"
    for value in map(result.p50_us, FIGURES):
        yield f"{value:.2f}" if value < 10 else shown(value)
    yield f"{result.images_per_second:,.0f}"
    yield "unknown" if rate is None else f"{result.bytes_share(rate):.1%}"


def _state(section: DeviceSection) -> Iterable[str]:
    during = section.state.get("during") or {}
    rows = [
        row(key, [shown(values[place]) for place in ("min", "p50", "max")])
        for key, values in during.items()
        if isinstance(values, dict)
    ]
    if rows:
        yield "<h2>Power and clocks while it was measured</h2>"
        yield as_table(("", "min", "p50", "max"), rows)
        reasons = ", ".join(during.get("throttle_reasons") or ()) or "nothing"
        yield f'<p class="note">Clocks were limited by: {escape(reasons)}.</p>'
    else:
        reason = (section.state.get("before") or {}).get("reason", "no samples")
        yield f'<p class="note">Power and clocks are unknown: {escape(str(reason))}.</p>'


def device_latency(run: Run, section: DeviceSection) -> style.Figure | None:
    """``device`` over the batch size, a line for each engine and mode."""
    sizes = sorted({result.batch_size for result in section.results})
    if len(sizes) < 2:
        return None
    go, traces = style.plotly(), []
    for index, (name, look) in enumerate(looks(run).items()):
        for graph in (False, True):
            results = sorted(
                (r for r in section.results if (r.engine, r.graph) == (name, graph)),
                key=lambda r: r.batch_size,
            )
            if not results:
                continue
            symbol = f"{look.marker.removesuffix('-open')}-open" if graph else look.marker
            traces.append(
                go.Scatter(
                    x=[r.batch_size for r in results],
                    y=[r.p50_us() for r in results],
                    mode="lines+markers",
                    name=style.text(results[0].name),
                    meta={"engine": index},
                    line={**style.line(look), "width": 1.5 if graph else 2.5},
                    marker=style.marker(replace(look, marker=symbol)),
                    hovertemplate="batch %{x}: %{y:,.2f} µs<extra>%{fullData.name}</extra>",
                )
            )
    if not traces:
        return None
    return style.over_batch_sizes(traces, sizes, "device latency, p50 (µs)")


def split(run: Run, section: DeviceSection) -> style.Figure | None:
    """Stacked bars of a whole call, for each batch size; the first one is shown."""
    splits = section.splits(run.results)
    if not splits:
        return None
    go, traces = style.plotly(), []
    places = {name: i for i, name in enumerate(dict.fromkeys(one.engine for one in splits[::-1]))}
    for size in sorted({one.batch_size for one in splits}):
        rows = [one for one in splits if one.batch_size == size]
        for key, label, hue, shape in PARTS:
            traces.append(
                go.Bar(
                    y=[places[one.engine] for one in rows],
                    x=[max(0.0, getattr(one, key)) for one in rows],
                    customdata=[[style.text(one.engine), getattr(one, key)] for one in rows],
                    orientation="h",
                    name=label,
                    marker=style.bar(hue, shape),
                    visible=size == run.batch_sizes[0],
                    meta={"batch": size},
                    hovertemplate=f"%{{customdata[0]}}<br>{label}: %{{customdata[1]:,.2f}} µs"
                    "<extra></extra>",
                )
            )
    return style.stacked_bars(traces, places, "time of a call (µs)")
