"""The HTML page: everything is on it, nothing is loaded, and foreign names stay text."""

import json
import re
import sys

import numpy as np
import pytest

from lenet_bench import LatencyResult, Settings, fingerprint
from lenet_bench.html import plots, report, style
from lenet_bench.report import Run
from lenet_runtime.errors import ArtifactError, BackendUnavailable

pytest.importorskip("plotly")

SCRIPT = "</script><script>alert(1)</script><b>bold</b> & \"q\" 'q'"
COLD = {
    "numpy_ms": 100.0, "import_ms": 20.0, "load_ms": 30.0, "first_run_ms": 1.0,
    "second_run_ms": 0.5, "process_ms": 170.0, "peak_memory_mib": 64.0, "artifact_mib": 0.3,
    "installed_mib": None,
}  # fmt: skip


def run_of(engines=("eager", "ort-cpu"), sizes=(1, 8), **changes):
    random = np.random.default_rng(0)
    results = tuple(
        LatencyResult(name, size, tuple((100 - place) * 1e3 * size * random.uniform(1, 2, (20, 9))))
        for size in sizes
        for place, name in enumerate(engines)
    )
    changes = {
        "cold_start": tuple({"engine": name, **COLD} for name in engines),
        "scaling": tuple(
            {"engine": name, "threads": t, "callers": c, "batch_size": 64,
             "images_per_second": 1e4 * t * c, "speedup": t * c}
            for name in engines for t, c in ((1, 1), (2, 1), (1, 2))
        ),
        "skipped": ({"engine": "tensorrt", "reason": "no GPU <here>"},),
        "engines": {name: {"backend": name, "threads": 1} for name in engines},
        "baseline": "eager",
    } | changes  # fmt: skip
    return Run(Settings(), fingerprint(), results, **changes)


def page_of(run):
    """The page, and what of it is ours: all but plotly.js."""
    from plotly.offline import get_plotlyjs

    page = report.page(run)
    assert page.count(get_plotlyjs()) == 1
    return page, page.replace(get_plotlyjs(), "")


@pytest.fixture(scope="module")
def ours():
    return page_of(run_of())[1]


def test_the_page_says_what_was_measured_where_and_when(ours):
    run = run_of()
    title = re.search("<h1>(.*?)</h1>", ours).group(1)
    assert run.fingerprint["machine"]["cpu"] in title
    assert run.fingerprint["state"]["measured_at"][:10] in ours
    assert "ort-cpu is the fastest at every batch size measured" in ours
    assert "tensorrt: no GPU &lt;here&gt;" in ours
    for facts in run.fingerprint.values():
        assert all(f'<td class="name">{key}</td>' in ours for key in facts)


def test_the_table_marks_the_winner_of_each_batch_size(ours):
    winners = re.findall('<tr class="[^"]*winner[^"]*">(.*?)</tr>', ours)
    assert [re.findall(r">(\S+) ★</td><td>(\d+)<", row) for row in winners] == [
        [("ort-cpu", "1")], [("ort-cpu", "8")],
    ]  # fmt: skip


def test_the_table_holds_the_figures():
    run = run_of()
    _, ours = page_of(run)
    for result in run.results:
        for percent in (50, 90, 99):
            assert f"<td>{report.shown(result.percentile_us(percent))}</td>" in ours
        assert f"<td>{result.images_per_second:,.0f}</td>" in ours
    ratio = run.ratio(run.results[1])
    assert f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]" in ours


@pytest.mark.parametrize(
    "plot",
    [
        "latency-over-batch-size",
        "throughput-over-batch-size",
        "distribution",
        "cold-start",
        "throughput-over-threads",
        "throughput-over-callers",
    ],
)
def test_every_plot_is_there(ours, plot):
    assert f'<div id="{plot}"' in ours


def test_what_was_not_measured_is_not_plotted():
    _, ours = page_of(run_of(sizes=(8,), cold_start=(), scaling=(), skipped=(), baseline=None))
    assert re.findall('<div id="([^"]*)"', ours) == ["distribution"]
    assert "Not measured" not in ours


def test_nothing_measured_is_still_a_page():
    _, ours = page_of(run_of(sizes=(), cold_start=(), scaling=(), interrupted=True))
    assert "Nothing was measured" in ours
    assert "was interrupted" in ours


def test_an_engine_that_had_not_settled_is_marked():
    run = run_of(engines=("eager",))
    cold = LatencyResult("slow", 1, run.results[0].rounds_ns, warm=False)
    _, ours = page_of(Run(run.settings, run.fingerprint, (*run.results, cold)))
    assert "slow †</td>" in ours
    assert "†" not in page_of(run)[1]


def test_an_engine_that_waited_for_the_cpu_is_marked():
    run = run_of(engines=("eager",))
    busy = LatencyResult("slow", 1, run.results[0].rounds_ns, preempted_share=0.6)
    _, ours = page_of(Run(run.settings, run.fingerprint, (*run.results, busy)))
    assert "slow ‡</td>" in ours
    assert "‡" not in page_of(run)[1]


def test_foreign_names_stay_text():
    skipped = ({"engine": SCRIPT, "reason": SCRIPT},)
    run = run_of(engines=("eager", SCRIPT), skipped=skipped)
    run.fingerprint["machine"]["cpu"] = SCRIPT
    _, ours = page_of(run)
    assert "alert(1)" in ours
    assert "<script>alert" not in ours
    assert "<b>" not in ours
    own = re.findall("<script", ours)
    assert len(own) == ours.count("</script>") == len(re.findall("<script", page_of(run_of())[1]))


def test_plotly_gets_no_markup_in_names():
    """Plotly itself turns some HTML in its labels into tags."""
    run = run_of(engines=("eager", SCRIPT))
    for figure in (
        plots.latency(run),
        plots.throughput(run),
        plots.distribution(run),
        plots.cold_start(run),
        plots.scaling(run, "threads"),
    ):
        assert "alert" in json.dumps(figure.to_dict(), default=list)
        assert "<script" not in json.dumps(figure.to_dict(), default=list)
        assert "<b>" not in json.dumps(figure.to_dict(), default=list)


def test_the_page_loads_nothing_and_sends_nothing(ours):
    assert "default-src 'none'" in ours
    assert not re.search(r"<(link|img|iframe)\b", ours)
    assert not re.search(r"\ssrc=", ours)
    assert not re.search("https?://", ours)
    assert '"showSendToCloud": false' in ours


def test_the_page_stays_small_with_twelve_engines_and_ten_batch_sizes():
    engines = ("eager", *(f"engine-{i}" for i in range(11)))
    page, ours = page_of(run_of(engines=engines, sizes=[2**i for i in range(10)]))
    assert len(ours) < 800_000
    assert len(page) < 6_000_000


def test_raw_samples_are_thinned():
    samples = np.random.default_rng(0).uniform(1e5, 2e5, 100_000)
    run = Run(Settings(), fingerprint(), (LatencyResult("a", 1, (samples,)),))
    curve = plots.distribution(run).data[0]
    assert len(curve.x) == len(curve.y) < 300
    assert list(curve.x) == sorted(curve.x)
    middle = list(curve.y).index(50)
    assert curve.x[middle] == pytest.approx(np.median(samples) / 1e3, rel=1e-5)


def test_no_two_engines_look_alike():
    engines = ("eager", *(f"engine-{i}" for i in range(41)))
    looks = style.looks(run_of(engines=engines, sizes=(1,)))
    assert len(set(looks.values())) == 42
    assert len({(look.colour, look.marker) for look in looks.values()}) == 42


def test_one_batch_size_at_a_time_is_visible():
    shown = {t.meta["batch"] for t in plots.distribution(run_of()).data if t.visible}
    assert shown == {1}


def test_scaling_over_callers_starts_at_the_single_caller():
    (line, _) = plots.scaling(run_of(), "callers").data
    assert list(line.x) == [1, 2]
    assert list(line.y) == [1e4, 2e4]


def test_the_file_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    report.write_html(run_of(), path)
    before = path.read_text(encoding="utf-8")
    assert before.endswith("</html>\n")

    def fail(run):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "page", fail)
    with pytest.raises(KeyboardInterrupt):
        report.write_html(run_of(), path)
    assert path.read_text(encoding="utf-8") == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="nowhere"):
        report.write_html(run_of(), tmp_path / "nowhere" / "report.html")


def test_without_plotly_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(BackendUnavailable, match=r"pip install .*\[bench\]"):
        report.write_html(run_of(), tmp_path / "report.html")
    assert not list(tmp_path.iterdir())
