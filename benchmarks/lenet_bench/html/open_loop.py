"""One self-contained HTML page about an open loop: percentiles over the rate, stalls over time."""

from collections.abc import Iterable
from html import escape
from pathlib import Path

from lenet_bench.html import open_loop_plots as plots
from lenet_bench.html import parts, style, words
from lenet_bench.html.parts import as_table, digits, listed, row, row_of
from lenet_bench.html.style import plot
from lenet_bench.openloop.report import LoadRun, remarks
from lenet_bench.openloop.result import PERCENTILES, RateResult
from lenet_runtime.artifact.files import write_atomically

_METHOD = (
    "Requests of one image each came at random moments, drawn beforehand by a Poisson process of"
    " the offered rate, whether or not earlier ones had been answered. The latency of a request"
    " runs from the moment at which it was meant to start, so that whoever came during a stall has"
    " waited for its end; a request that was not answered took infinitely long. Targets took turns"
    " in windows of half a second or more, with equal arrivals. Percentiles are read off the raw"
    " samples. The generator's own lateness is what the answers would have been earlier, had it"
    " never been late; where that is more than a tenth of p99, a window is sent"
    " again; a percentile of which it is more than a tenth in the end is refused. A limit of p99"
    " holds by MLPerf's early stopping, with 99% confidence. The knee is the rate of the greatest"
    " power, rate over p99."
)


def write_html(run: LoadRun, path: Path) -> None:
    """Write the page about `run` to `path`: whole, or not at all.

    Raises:
        BackendUnavailable: plotly is not installed.
        ArtifactError: `path` cannot be written.
    """
    write_atomically(path, page(run).encode("utf-8"))


def page(run: LoadRun) -> str:
    """The page about `run`, about 2 MB of HTML; raises BackendUnavailable without plotly."""
    machine = run.fingerprint.get("machine", {})
    title = f"LeNet under load, from {machine.get('cpu') or 'this machine'}"
    body = [*_head(run, title), *_found(run), *_plots(run), *_table(run), *_closing(run)]
    scripts = [
        f'<script type="text/plain" id="plotly">{style.packed_plotly()}</script>',
        f"<script>{parts.file('page.js')}</script>",
    ]
    return parts.document(title, body, scripts)


def _head(run: LoadRun, title: str) -> Iterable[str]:
    yield f"<h1>{escape(title)}</h1>"
    if run.interrupted:
        yield parts.alert("The run was interrupted; this is what it had measured.")
    for line in remarks(run):
        yield parts.alert(f"{line[0].upper()}{line[1:]}.")
    state, s = run.fingerprint.get("state", {}), run.settings
    pairs = [("Measured", escape(words.moment(str(state.get("measured_at") or ""))))]
    pairs.append(("Each figure", escape(f"at least {s.min_seconds:g} s, seed {s.seed}")))
    if load := words.load(run.fingerprint):
        pairs.append(("Load", escape(load)))
    if command := state.get("command"):
        pairs.append(("Command", f'<code class="command">{escape(str(command))}</code>'))
    yield parts.facts(pairs)


def _found(run: LoadRun) -> Iterable[str]:
    if not run.found:
        return
    limit = f"{run.settings.p99_limit_us:g}"
    yield f"<h2>The highest rate whose p99 is within {limit} µs</h2>"
    rows = []
    for found in run.found:
        rate = "none" if found.rate is None else f"{found.rate:,.0f}"
        so_far = "" if found.complete else found.ended_by or "the search was cut short"
        rows.append(row(found.target, [rate, found.interval, so_far]))
    yield as_table(("target", "requests/s", "interval", ""), rows)
    yield (
        '<p class="note">The interval is from the highest rate that surely held to the lowest above'
        " it that did not.</p>"
    )


def _plots(run: LoadRun) -> Iterable[str]:
    if not run.results:
        yield "<p>Nothing was measured.</p>"
        return
    keys = (
        f'<button type="button" data-engine="{index}" aria-pressed="true" title="{escape(name)}">'
        f"{look.swatch} {escape(name)}</button>"
        for index, (name, look) in enumerate(plots.looks(run).items())
    )
    yield "<h2>Plots</h2>"
    yield '<noscript><p class="alert">The plots are drawn by a script in this page.</p></noscript>'
    yield f'<div class="keys">{"".join(keys)}</div><div class="plots">'
    yield from plot(
        "Latency over the offered rate",
        plots.over_rate(run),
        "From the bottom up: p50 (solid), p99 (long dashes), p99.9 (dashes), p99.99 (dots); the"
        " ring is the knee of p99.",
    )
    rates = sorted({result.rate for result in run.results})
    first = run.results[0].rate
    options = "".join(
        f'<option value="{rate:g}"{" selected" * (rate == first)}>{rate:,.0f}/s</option>'
        for rate in rates
    )
    yield from plot(
        "Stalls over time",
        plots.over_time(run),
        "The longest latency of every 10 ms, window after window.",
        f'<label>Rate<select id="batch" autocomplete="off">{options}</select></label>',
    )
    yield "</div>"


def _table(run: LoadRun) -> Iterable[str]:
    if not run.results:
        return
    known = plots.looks(run)
    rows = [
        row_of(f"{known[r.target].swatch} {escape(r.target)}", map(escape, _cells(r)))
        for target in run.targets
        for r in run.of(target)
    ]
    heads = ["target", "offered/s", "answered/s", *(f"p{p:g} (µs)" for p in PERCENTILES)]
    heads += ["stalls", "longest (ms)", "generator late, p99 (µs)", "requests"]
    yield "<h2>Figures</h2>"
    yield as_table(heads, rows)


def _cells(result: RateResult) -> Iterable[str]:
    yield f"{result.rate:,.0f}"
    yield f"{result.answered_per_second:,.0f}"
    for percent in PERCENTILES:
        value = result.figure_us(percent)
        if value is not None:
            yield digits(value)
        else:
            yield "refused" if result.is_refused(percent) else "-"
    stalls = result.stalls
    yield f"{len(stalls):,}"
    yield digits(max(stall.ms for stall in stalls)) if stalls else "-"
    yield digits(result.late_p99_us)
    yield f"{result.count:,}"


def _closing(run: LoadRun) -> Iterable[str]:
    yield f"<h2>Method</h2>\n<p>{escape(_METHOD)}</p>"
    if run.skipped:
        yield f"<h2>Not measured</h2>\n{listed(run.skipped)}"
    yield '<h2>Machine and software</h2><div class="plots">'
    yield from words.tables(run.fingerprint)
    yield "</div>"
