"""Before and after on the page: the gate's verdict, whichever it is, and old and new times."""

import dataclasses
import re
from pathlib import Path

import pytest
from html_runs import SCRIPT, run_of

from lenet_bench.compare import compare
from lenet_bench.gate import Change, Gate
from lenet_bench.html import gate, report, style
from lenet_bench.result import Ratio

pytest.importorskip("plotly")

FASTER, SLOWER = (Ratio(r, r - 0.05, r + 0.05) for r in (0.7, 1.3))


def times(run, factor, engine="ort-cpu"):
    """The run with an engine so many times as slow."""
    slower = [
        dataclasses.replace(r, rounds_ns=tuple(n * factor for n in r.rounds_ns))
        if r.engine == engine
        else r
        for r in run.results
    ]
    return dataclasses.replace(run, results=tuple(slower))


def judged(factor):
    """A run whose ort-cpu takes so many times as long as in the report of before."""
    before = run_of()
    after = times(before, factor)
    return dataclasses.replace(after, gate=compare(after, before, 0.1, file=Path("old.json")))


@pytest.fixture
def page_of(monkeypatch):
    monkeypatch.setattr(style, "packed_plotly", lambda: "PLOTLY")
    return report.page


def boxes(page):
    return re.findall('<p class="(alert[^"]*)" role="note">(.*?)</p>', page)


def test_a_regression_is_said_in_a_box_with_its_rows_marked(page_of):
    page = page_of(judged(1.5))
    text = "Slower by surely more than 10%: ort-cpu at batch 1, ort-cpu at batch 8."
    assert ("alert", text) in boxes(page)
    assert len(re.findall('<tr class="slower[^"]*">.*ort-cpu.*▲ slower</td></tr>', page)) == 2
    assert "Old is old.json, " in page


def test_a_gate_that_passes_says_so(page_of):
    box = dict(map(reversed, boxes(page_of(judged(1.0)))))
    (text,) = (text for text, kind in box.items() if kind == "alert good")
    assert text == "Nothing is slower by surely more than 10%: 2 of 4 rows judged."
    (text,) = (t for k, t in boxes(page_of(judged(0.5))) if k == "alert good")
    assert text.endswith("judged, and 2 faster by more than that.")


def test_old_and_new_times_stand_side_by_side(page_of):
    run = judged(2.0)
    page = page_of(run)
    for change in run.gate.changes:
        cells = "</td><td>".join(map(gate.shown, (change.old_us, change.new_us)))
        assert f"<td>{change.batch_size}</td><td>{cells}</td>" in page
        assert f"<td>{gate.percent(change.ratio.value)}</td>" in page
    assert (
        "<th>change, relative to eager</th>" in page
    )  # which old and new do not show by themselves


def test_a_run_that_was_compared_with_none_has_none_of_it(page_of):
    assert "Before and after" not in page_of(run_of())


def test_the_plot_has_a_row_for_each_change_and_the_limit():
    run = judged(1.5)
    figure = gate.changes(run, run.gate)
    assert len(figure.data) == 4
    assert figure.layout.yaxis.ticktext[-1] == "eager, 1"  # on top
    first = figure.data[-2]  # ort-cpu at batch 1
    assert first.x[0] == pytest.approx(100 * (run.gate.changes[1].ratio.value - 1), abs=1e-3)
    assert first.marker.color == "var(--vermilion)"
    assert {shape.x0 for shape in figure.layout.shapes} == {0, 10}


def test_what_a_report_of_others_says_stays_text(page_of):
    """A gate is read back from JSON that anybody may have written."""
    change = Change(SCRIPT, 1, 1.0, 2.0, 1.0, 2.0, SLOWER, relative=False, verdict=SCRIPT)
    before = {"file": SCRIPT, "measured_at": SCRIPT, "lenet_deploy": SCRIPT}
    page = page_of(dataclasses.replace(run_of(), gate=Gate(before, 0.1, (change,))))
    assert page.count("alert(1)") > 3
    assert "<script>alert" not in page
    assert "<b>" not in page


def test_a_gate_without_a_row_that_can_be_judged_passes_nothing(page_of):
    change = Change("eager", 1, 1.0, 2.0, 1.0, 2.0, FASTER, relative=False, verdict="preempted")
    page = page_of(dataclasses.replace(run_of(), gate=Gate({}, 0.1, (change,))))
    assert ("alert", "Nothing could be judged.") in boxes(page)
    assert "Old is a report of before." in page
    assert "? preempted: not judged" in page
