"""The HTML report's part about the regression gate: before and after, and the verdict."""

from collections.abc import Iterable
from html import escape

from lenet_bench.gate import FASTER, PREEMPTED, SLOWER, UNCHANGED, YARDSTICK, Change, Gate
from lenet_bench.html import parts, style, words
from lenet_bench.html.looks import BACKENDS, Look, looks
from lenet_bench.html.parts import as_table, shown
from lenet_bench.report import Run

# How each verdict is marked, and in which hue.
MARKS = {
    SLOWER: ("▲", "vermilion"),
    FASTER: ("▼", "green"),
    UNCHANGED: ("=", "soft"),
    YARDSTICK: ("·", "soft"),
    PREEMPTED: ("?", "soft"),
}
_MEANINGS = {
    UNCHANGED: "within the limit or the noise",
    YARDSTICK: "the base line, which is not judged: its change is the machine's",
    PREEMPTED: "not judged: other processes took the CPU in most samples",
}


def section(run: Run) -> Iterable[str]:
    """The verdict, a plot and a table; nothing of a run that was compared with none."""
    gate = run.gate
    if gate is None:
        return
    yield "<h2>Before and after</h2>"
    yield verdict(gate)
    yield f'<p class="note">{escape(_before(gate))} {escape(gate.rule(run.baseline))}.</p>'
    yield from style.plot(
        "Change by engine and batch size",
        changes(run, gate),
        "New over old with its 95% interval; dashed: the limit.",
    )
    rows, size = [], 0
    for change in gate.changes:
        rows.append(_row(run, change, "first" * (change.batch_size != size)))
        size = change.batch_size
    ratio = f"change{_relative(run, gate)}"
    heads = ("batch", "old (µs)", "new (µs)", "old p50", "new p50", ratio, "95%", "verdict")
    yield as_table(("engine", *heads), rows)
    told = {change.verdict for change in gate.changes}
    notes = (f"{MARKS[key][0]} {key}: {text}." for key, text in _MEANINGS.items() if key in told)
    yield f'<p class="note">{escape(" ".join(notes))}</p>'


def verdict(gate: Gate) -> str:
    """The gate's verdict as a box."""
    limit = f"{100 * gate.fail_above:.4g}%"
    slower = [f"{c.engine} at batch {c.batch_size:,}" for c in gate.changes if c.regressed]
    if slower:
        return parts.alert(f"Slower by surely more than {limit}: {', '.join(slower)}.")
    judged = sum(change.verdict not in (YARDSTICK, PREEMPTED) for change in gate.changes)
    if not judged:
        return parts.alert("Nothing could be judged.")
    faster = sum(change.verdict == FASTER for change in gate.changes)
    more = f", and {faster} faster by more than that" if faster else ""
    return parts.alert(
        f"Nothing is slower by surely more than {limit}: {judged} of {len(gate.changes)} rows "
        f"judged{more}.",
        kind="good",
    )


def _before(gate: Gate) -> str:
    file, when, version = (gate.before.get(k) for k in ("file", "measured_at", "lenet_deploy"))
    facts = [str(file or ""), words.moment(str(when)) if when else ""]
    facts.append(f"lenet-deploy {version}" if version else "")
    return f"Old is {', '.join(filter(None, facts)) or 'a report of before'}."


def _row(run: Run, change: Change, kind: str) -> str:
    ratio = change.ratio
    mark, _ = MARKS.get(change.verdict, ("", "soft"))
    cells = [
        f"{change.batch_size:,}",
        *map(shown, (change.old_us, change.new_us, change.old_p50_us, change.new_p50_us)),
        percent(ratio.value),
        f"{percent(ratio.low)} to {percent(ratio.high)}",
        f"{mark} {change.verdict}",
    ]
    if change.verdict in MARKS:
        kind = f"{change.verdict} {kind}".strip()
    return parts.row_of(_name(run, change), map(escape, cells), kind)


def _name(run: Run, change: Change) -> str:
    look = looks(run).get(change.engine)
    return (f"{look.swatch} " if look else "") + escape(change.engine)


def changes(run: Run, gate: Gate) -> style.Figure | None:
    """A row for each engine and batch size: new over old, and its interval."""
    rows = gate.changes[::-1]  # the first one on top
    traces, known = [], looks(run)
    for place, change in enumerate(rows):
        look = known.get(change.engine) or Look("slate", BACKENDS["native"][1], "solid")
        ratio, (_, hue) = change.ratio, MARKS.get(change.verdict, ("", "soft"))
        traces.append(
            style.plotly().Scatter(
                x=style.rounded([100 * (ratio.value - 1)]),
                y=[place],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": style.rounded([100 * max(0.0, ratio.high - ratio.value)]),
                    "arrayminus": style.rounded([100 * max(0.0, ratio.value - ratio.low)]),
                    "color": f"var(--{hue})",
                    "thickness": 3,
                    "width": 0,
                },
                mode="markers",
                marker={**style.marker(look), "color": f"var(--{hue})"},
                name=style.text(f"{change.engine}, batch {change.batch_size}"),
                hovertemplate=f"{shown(change.old_us)} µs before, {shown(change.new_us)} µs now: "
                f"{percent(ratio.value)}<extra>%{{fullData.name}}</extra>",
            )
        )
    names = [f"{change.engine}, {change.batch_size:,}" for change in rows]
    title = f"change of the time of a call{style.text(_relative(run, gate))}"
    figure = style.rows_of(traces, names, title)
    figure.update_layout(height=130 + 26 * len(rows))
    figure.update_xaxes(ticksuffix="%", tickformat="+,~r")
    figure.add_vline(0, line={"color": "var(--edge)", "width": 1})
    limit = {"color": "var(--vermilion)", "width": 1.5, "dash": "dash"}
    figure.add_vline(100 * gate.fail_above, line=limit)
    return figure


def _relative(run: Run, gate: Gate) -> str:
    """Whether a slower or faster day of the machine was divided out, as words of a heading."""
    return f", relative to {run.baseline}" if any(c.relative for c in gate.changes) else ""


def percent(ratio: float) -> str:
    """How much more or less a ratio is than 1: ``+20%``, ``-3.1%``."""
    change = 100 * (ratio - 1)
    return f"{change:+,.0f}%" if abs(change) >= 10 else f"{change:+.1f}%"
