"""One self-contained HTML page about a latency run: tables, interactive plots, method, fingerprint.

The page loads nothing, and its content policy forbids it to: plotly.js is inside, once.
"""

from collections.abc import Iterable
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from lenet_bench.html import device, plots, style
from lenet_bench.html.style import as_table, listed, plot, row, shown
from lenet_bench.report import Run, crossovers
from lenet_bench.result import LatencyResult
from lenet_runtime.artifact.files import write_atomically

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
_INPUTS = {
    "rotating": "inputs rotated through a set larger than the L1 cache",
    "hot": "the input was always the same, hot in the caches",
    "cold": "the caches were swept before each call",
}


def write_html(run: Run, path: Path) -> None:
    """Write the page about `run` to `path`: whole, or not at all.

    Args:
        run: what was measured.
        path: of the page; replaced where it exists.

    Raises:
        BackendUnavailable: plotly is not installed.
        ArtifactError: `path` cannot be written.
    """
    write_atomically(path, page(run).encode("utf-8"))


def page(run: Run) -> str:
    """The page about `run`, about 5 MB of HTML; raises BackendUnavailable without plotly."""
    style.plotly()
    from plotly.offline import get_plotlyjs

    machine = run.fingerprint.get("machine", {})
    title = f"Latency of LeNet on {machine.get('gpu') or machine.get('cpu') or 'this machine'}"
    parts = [*_head(run, title), *_table(run), *_plots(run), *device.section(run)]
    parts += [*_cold_start(run), *_scaling(run)]
    body = "\n".join([*parts, *_closing(run)])
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>{_file("page.css")}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
{body}
<script>{_file("page.js")}</script>
</body>
</html>
"""


def _file(name: str) -> str:
    """The text of a file beside this one."""
    return resources.files("lenet_bench.html").joinpath(name).read_text("utf-8").strip()


def _head(run: Run, title: str) -> Iterable[str]:
    state, software = (run.fingerprint.get(group, {}) for group in ("state", "software"))
    facts = [
        state.get("measured_at"),
        f"lenet-deploy {software.get('lenet_deploy')}",
        f"scope: {run.scope}",
        f"base line: {run.baseline or 'none'}",
    ]
    yield f"<h1>{escape(title)}</h1>"
    yield f'<p class="meta">{escape(" · ".join(fact for fact in facts if fact))}</p>'
    if run.interrupted:
        yield '<p class="alert">The run was interrupted; this is what it had measured.</p>'
    lines = crossovers(run)
    if lines:
        yield f"<p><strong>{escape('; '.join(lines))}.</strong></p>"


def _table(run: Run) -> Iterable[str]:
    if not run.results:
        yield "<p>Nothing was measured.</p>"
        return
    winners, rows = run.winners(), []
    for size in run.batch_sizes:
        group = sorted(
            (r for r in run.results if r.batch_size == size), key=lambda r: r.percentile_us(50)
        )
        for place, result in enumerate(group):
            wins = winners[size] == result.engine
            kind = " ".join(["first"] * (place == 0) + ["winner"] * wins)
            name = result.engine + " ★" * wins + " †" * (not result.warm)
            rows.append(row(name + " ‡" * _waited(result), _cells(run, result), kind))
    heads = ("batch", "p50 (µs)", "p90 (µs)", "p99 (µs)", "images/s", "ratio to base line [95%]")
    yield "<h2>Figures</h2>"
    yield as_table(("engine", *heads), rows)
    yield '<p class="note">★ the lowest median of the batch size. A ratio below 1 is faster.'
    if not all(result.warm for result in run.results):
        yield " † was still getting faster when its warm-up ended."
    if any(map(_waited, run.results)):
        yield " ‡ had to wait for the CPU in most samples: the machine was busy."
    yield "</p>"


def _waited(result: LatencyResult) -> bool:
    return (result.preempted_share or 0) > 0.5


def _cells(run: Run, result: LatencyResult) -> Iterable[str]:
    ratio = run.ratio(result)
    yield f"{result.batch_size:,}"
    yield from (shown(result.percentile_us(percent)) for percent in (50, 90, 99))
    yield f"{result.images_per_second:,.0f}"
    if ratio is None:
        yield ""
    elif result.engine == run.baseline:
        yield "1"
    else:
        yield f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


def _plots(run: Run) -> Iterable[str]:
    if not run.results:
        return
    keys = (
        f'<button type="button" data-engine="{index}" aria-pressed="true" title="{escape(name)}">'
        f'<span style="color:{look.colour}">{look.glyph}</span> {escape(name)}</button>'
        for index, (name, look) in enumerate(style.looks(run).items())
    )
    yield "<h2>Plots</h2>"
    yield '<p class="note">Choose engines here; the choice holds for all plots with engines.</p>'
    yield f'<div class="keys">{"".join(keys)}</div>'
    yield from plot("Latency over batch size", plots.latency(run), "Bands span p10 to p90.")
    yield from plot("Throughput over batch size", plots.throughput(run), "One caller.")
    options = "".join(f'<option value="{n}">{n:,}</option>' for n in run.batch_sizes)
    yield from plot(
        "Distribution",
        plots.distribution(run),
        "Share of calls that took at most so long, up to 99.9%; markers at p50, p90 and p99.",
        f'<label>Batch size<select id="batch" autocomplete="off">{options}</select></label>',
    )


def _cold_start(run: Run) -> Iterable[str]:
    yield from plot(
        "Cold start",
        plots.cold_start(run),
        "A fresh process, the file cache warm; medians.",
    )
    if not run.cold_start:
        return
    columns = {
        "process_ms": "process (ms)",
        "load_ms": "load (ms)",
        "first_run_ms": "first run (ms)",
        "second_run_ms": "second run (ms)",
        "peak_memory_mib": "peak memory (MiB)",
        "artifact_mib": "artifact (MiB)",
        "installed_mib": "installed (MiB)",
    }
    rows = [row(one["engine"], [shown(one.get(key)) for key in columns]) for one in run.cold_start]
    yield as_table(("engine", *columns.values()), rows)


def _scaling(run: Run) -> Iterable[str]:
    sizes = ", ".join(f"{n:,}" for n in sorted({row["batch_size"] for row in run.scaling}))
    for over in ("threads", "callers"):
        note = f"Batch size {sizes}; twice the {over} would at best be twice the height."
        yield from plot(f"Throughput over {over}", plots.scaling(run, over), note)


def _closing(run: Run) -> Iterable[str]:
    yield "<h2>Method</h2>"
    yield f"<p>{escape(_method(run))}</p>"
    if run.skipped:
        yield f"<h2>Not measured</h2>\n{listed(run.skipped)}"
    if run.engines:
        yield "<h2>Engines</h2>"
        yield _records(run.engines)
    yield "<h2>Fingerprint</h2>"
    for group, facts in run.fingerprint.items():
        rows = [
            f'<tr><td class="name">{escape(key)}</td>'
            f'<td class="name">{escape(_fact(value, group))}</td></tr>'
            for key, value in facts.items()
        ]
        yield as_table((group, ""), rows)


def _method(run: Run) -> str:
    s = run.settings
    return (
        f"One sample is a whole call as a service makes it (scope {run.scope}: float32 NumPy images"
        f" in, NumPy logits out, on the host), and {_INPUTS[s.inputs]}. Engines took turns in"
        " slices of about 10 ms, in a new random order each round, after a warm-up that lasted"
        " until the median stopped falling, until each had"
        f" {s.min_seconds:g} s and {s.min_iterations} samples at each batch size. Percentiles are"
        " read off the raw samples; ratios are medians over rounds, their 95% intervals from a"
        " bootstrap that draws whole rounds, since samples of one slice share their moment."
    )


def _records(records: dict[str, dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for record in records.values() for key in record))
    rows = [
        row(name, [_fact(record.get(key, "")) for key in columns])
        for name, record in records.items()
    ]
    return as_table(("engine", *columns), rows)


def _fact(value: Any, group: str = "") -> str:
    if value is None:
        return "not installed" if group == "software" else "unknown"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
