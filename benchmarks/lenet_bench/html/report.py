"""One self-contained HTML page about a latency run: tables, interactive plots, method, fingerprint.

The page loads nothing: plotly.js is inside, once and packed.
"""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from lenet_bench.html import device, gate, parts, plots, style, words
from lenet_bench.html.looks import looks
from lenet_bench.html.parts import as_table, digest, digits, listed, row, row_of, shown
from lenet_bench.html.style import plot
from lenet_bench.report import Run, crossovers, remarks
from lenet_bench.result import LatencyResult
from lenet_runtime.artifact.files import write_atomically

_INPUTS = {
    "rotating": "inputs rotated through a set larger than the L1 cache",
    "hot": "the input was always the same, hot in the caches",
    "cold": "the caches were swept before each call",
}
_COLD_START = {
    "process_ms": "process (ms)",
    "load_ms": "load (ms)",
    "first_run_ms": "first run (ms)",
    "second_run_ms": "second run (ms)",
    "peak_memory_mib": "peak memory (MiB)",
    "artifact_mib": "artifact (MiB)",
    "installed_mib": "installed (MiB)",
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
    """The page about `run`, about 2 MB of HTML; raises BackendUnavailable without plotly."""
    machine = run.fingerprint.get("machine", {})
    title = f"Latency of LeNet on {machine.get('gpu') or machine.get('cpu') or 'this machine'}"
    body = [*_head(run, title), *gate.section(run), *_table(run), *_plots(run)]
    body += [*device.section(run), *_cold_start(run), *_scaling(run), *_closing(run)]
    scripts = [
        f'<script type="text/plain" id="plotly">{style.packed_plotly()}</script>',
        f"<script>{parts.file('page.js')}</script>",
    ]
    return parts.document(title, body, scripts)


def _head(run: Run, title: str) -> Iterable[str]:
    yield f"<h1>{escape(title)}</h1>"
    if run.interrupted:
        yield parts.alert("The run was interrupted; this is what it had measured.")
    # What single engines had not settled is said below the table alone.
    grave = [remark for remark in remarks(run) if not remark.startswith("†")]
    if grave:
        sentences = (f"{one[0].upper()}{one[1:]}.".replace("‡", "Rows with ‡", 1) for one in grave)
        yield parts.alert(" ".join(sentences))
    lines = crossovers(run)
    if lines:
        yield f'<p class="lead">{escape("; ".join(lines))}.</p>'
    yield parts.facts(_facts(run))


def _facts(run: Run) -> Iterable[tuple[str, str]]:
    """What decides whether these figures may be compared with others."""
    state, software = (run.fingerprint.get(group, {}) for group in ("state", "software"))
    when = str(state.get("measured_at") or "")
    if when:
        yield "Measured", f'<time datetime="{escape(when)}">{escape(words.moment(when))}</time>'
    yield "Threads", escape(words.threads(run))
    if load := words.load(run.fingerprint):
        yield "Load", escape(load)
    s = run.settings
    least = f"{s.min_seconds:g} s and {s.min_iterations:,} samples, input {s.inputs}"
    yield "Each figure", escape(f"at least {least}")
    yield "Base line", escape(run.baseline or "nothing")
    yield "Weights", " ".join(map(digest, words.weights(run))) or "not known"
    yield "Version", escape(f"lenet-deploy {software.get('lenet_deploy')}")
    if command := state.get("command"):
        yield "Command", f'<code class="command">{escape(str(command))}</code>'


def _table(run: Run) -> Iterable[str]:
    if not run.results:
        yield "<p>Nothing was measured.</p>"
        return
    winners, rows, known = run.winners(), [], looks(run)
    for size in run.batch_sizes:
        group = sorted(
            (r for r in run.results if r.batch_size == size), key=lambda r: r.percentile_us(50)
        )
        for place, result in enumerate(group):
            wins = winners[size] == result.engine
            kind = " ".join(["first"] * (place == 0) + ["winner"] * wins)
            name = result.engine + " ★" * wins + " †" * (not result.warm)
            name = f"{known[result.engine].swatch} {escape(name + ' ‡' * result.waited)}"
            rows.append(row_of(name, map(escape, _cells(run, result)), kind))
    heads = ["batch", "p50 (µs)", "p90 (µs)", "p99 (µs)", "µs per image", "images/s"]
    heads += [f"speed-up over {run.baseline} [95%]", *["right"] * (run.data_set is not None)]
    yield "<h2>Figures</h2>"
    yield as_table(("engine", *heads), rows)
    notes = ["★ the fastest of its batch size, beyond the noise"] * any(winners.values())
    notes += [f"Right: {run.data_set} that are classified right"] * (run.data_set is not None)
    notes += [remark for remark in remarks(run) if remark[0] in "†‡"]
    yield f'<p class="note">{escape(". ".join([*notes, ""]))}</p>'


def _cells(run: Run, result: LatencyResult) -> Iterable[str]:
    ratio, middle = run.ratio(result), result.percentile_us(50)
    yield f"{result.batch_size:,}"
    yield from (shown(result.percentile_us(percent)) for percent in (50, 90, 99))
    yield digits(middle / result.batch_size)
    yield f"{result.images_per_second:,.0f}"
    if ratio is None:
        yield ""
    elif result.engine == run.baseline:
        yield "1x"
    else:
        yield f"{digits(1 / ratio.value)}x [{digits(1 / ratio.high)}, {digits(1 / ratio.low)}]"
    if run.data_set is not None:
        yield words.right(run.engines.get(result.engine, {}))


def _plots(run: Run) -> Iterable[str]:
    if not run.results:
        return
    keys = (
        f'<button type="button" data-engine="{index}" aria-pressed="true" title="{escape(name)}">'
        f"{look.swatch} {escape(name)}</button>"
        for index, (name, look) in enumerate(looks(run).items())
    )
    yield "<h2>Plots</h2>"
    yield '<p class="note">Choose engines here; the choice holds for all plots with engines.</p>'
    yield '<noscript><p class="alert">The plots are drawn by a script in this page.</p></noscript>'
    yield f'<div class="keys">{"".join(keys)}</div><div class="plots">'
    spread, interval = "Bands span p10 to p90.", "Bands are 95% intervals."
    if len(run.batch_sizes) < 3:
        spread, interval = "Medians.", "More is faster."
    yield from plot("Latency per image", plots.per_image(run), spread)
    yield from plot("Speed-up", plots.speed_up(run), interval)
    yield from plot("Latency of a call", plots.latency(run), spread)
    options = "".join(f'<option value="{n}">{n:,}</option>' for n in run.batch_sizes)
    yield from plot(
        "Distribution",
        plots.distribution(run),
        "Latency that a share of the calls stayed below; each step to the right is ten times "
        "rarer.",
        f'<label>Batch size<select id="batch" autocomplete="off">{options}</select></label>',
    )
    yield "</div>"


def _cold_start(run: Run) -> Iterable[str]:
    if not run.cold_start:
        return
    yield "<h2>Cold start</h2>"
    note = "A fresh process, the file cache warm; medians."
    yield from plot("Time to the first answer", plots.cold_start(run), note)
    rows = [row(one["engine"], [shown(one.get(k)) for k in _COLD_START]) for one in run.cold_start]
    yield as_table(("engine", *_COLD_START.values()), rows)


def _scaling(run: Run) -> Iterable[str]:
    if not run.scaling:
        return
    sizes = ", ".join(f"{n:,}" for n in sorted({row["batch_size"] for row in run.scaling}))
    yield '<h2>Scaling</h2><div class="plots">'
    for over in ("threads", "callers"):
        note = f"Batch size {sizes}; dotted: twice the {over} are twice as fast."
        yield from plot(f"Throughput over {over}", plots.scaling(run, over), note)
    yield "</div>"


def _closing(run: Run) -> Iterable[str]:
    yield "<h2>Method</h2>"
    yield f"<p>{escape(_method(run))}</p>"
    if run.skipped:
        yield f"<h2>Not measured</h2>\n{listed(run.skipped)}"
    if run.engines:
        yield "<h2>Engines</h2>"
        yield _records(run.engines, with_weights=len(words.weights(run)) > 1)
    yield '<h2>Machine and software</h2><div class="plots">'
    yield from words.tables(run.fingerprint)
    yield "</div>"


def _method(run: Run) -> str:
    s = run.settings
    return (
        f"One sample is a whole call as a service makes it (scope {run.scope}: float32 NumPy images"
        f" in, NumPy logits out, on the host), and {_INPUTS[s.inputs]}. Engines took turns in"
        " slices of about 10 ms, in a new random order each round, after a warm-up that lasted"
        " until the median stopped falling, until each had"
        f" {s.min_seconds:g} s and {s.min_iterations} samples at each batch size. Percentiles are"
        " read off the raw samples; speed-ups are ratios of medians over rounds, their 95%"
        " intervals from a bootstrap that draws whole rounds, since samples of one slice share"
        " their moment."
    )


def _records(records: dict[str, dict[str, Any]], *, with_weights: bool) -> str:
    """A table of the engines; the weights' digest only where they are not all of one network."""
    known = dict.fromkeys(key for record in records.values() for key in record)
    left_out = {"right", "digits"} if with_weights else {"right", "digits", "weights_sha256"}
    columns = [key for key in known if key not in left_out]
    rows = [
        row_of(escape(name), [_record_cell(key, record.get(key, "")) for key in columns])
        for name, record in records.items()
    ]
    heads = ["weights" if key == "weights_sha256" else key.replace("_", " ") for key in columns]
    return as_table(("engine", *heads), rows, "words")


def _record_cell(key: str, value: Any) -> str:
    if key in ("digest", "weights_sha256"):
        return digest(str(value or ""))
    return escape(words.fact("", value))
