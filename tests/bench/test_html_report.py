"""The HTML page: everything is on it, nothing is loaded, and foreign names stay text."""

import base64
import dataclasses
import json
import re
import sys
import zlib

import numpy as np
import pytest
from html_runs import SCRIPT, run_of

from lenet_bench import LatencyResult, Settings, fingerprint
from lenet_bench.html import looks, parts, plots, report, style, words
from lenet_bench.report import Run
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import ArtifactError, BackendUnavailable

pytest.importorskip("plotly")


@pytest.fixture(scope="module")
def plotly_js():
    """plotly.js as the page carries it; packing takes half a second, so once."""
    return style.packed_plotly()


@pytest.fixture
def page_of(plotly_js, monkeypatch):
    """The page about a run without plotly.js: what of it is ours."""
    monkeypatch.setattr(style, "packed_plotly", lambda: "PLOTLY")
    return report.page


@pytest.fixture
def ours(page_of):
    return page_of(run_of())


def test_the_page_says_what_was_measured_where_and_when(ours):
    run = run_of()
    title = re.search("<h1>(.*?)</h1>", ours).group(1)
    assert run.fingerprint["machine"]["cpu"] in title
    assert f'<time datetime="{run.fingerprint["state"]["measured_at"][:10]}' in ours
    assert "ort-cpu is the fastest at every batch size measured" in ours
    assert "tensorrt: no GPU &lt;here&gt;" in ours
    for facts in run.fingerprint.values():
        assert all(f'<td class="name">{words.name(key)}</td>' in ours for key in facts)


def test_the_head_says_what_figures_may_be_compared_with_these(page_of):
    sha = "0123456789abcdef" * 4
    engines = {"eager": {"threads": 1}, "ort-cpu": {"threads": 2, "weights_sha256": sha}}
    run = dataclasses.replace(run_of(), engines=engines)
    run.fingerprint["state"] |= {"command": "lenet-deploy bench <x>", "load_average_1min": 0.25}
    run.fingerprint["state"]["measured_at"] = "2026-11-27 04:40:10+00:00"
    head = page_of(run).partition("<h2>")[0]
    assert "27 November 2026, 04:40 UTC</time>" in head
    assert "1 and 2 for each engine" in head
    assert "<dt>Load</dt><dd>0.25 on" in head
    assert '<code class="command">lenet-deploy bench &lt;x&gt;</code>' in head
    assert f'<code>{sha[:12]}</code><button type="button" data-copy="{sha}"' in head


def test_the_machine_is_told_in_words():
    machine = {"l1d": "48K", "l3": "32768K", "memory_gib": 24, "affinity": [0, 1, 2, 5], "x_y": 3}
    told = {words.name(key): words.fact(key, value) for key, value in machine.items()}
    assert told == {
        "L1 data cache": "48 KiB",
        "L3 cache": "32 MiB",
        "memory": "24 GiB",
        "may run on": "4 cores: 0 to 2, 5",
        "x y": "3",
    }
    assert words.fact("mhz", 2445.43) == "2.45 GHz as the run began"
    assert words.fact("torch", None, "software") == "not installed"


def test_facts_of_a_foreign_kind_are_still_told():
    for key in ("cpu_level", "affinity", "l1d", "memory_gib", "mhz", "measured_at", "boost"):
        for value in ("", "K", "xK", {}, [], ["a"], True, -1.5, float("nan")):
            assert isinstance(words.fact(key, value), str)


@pytest.mark.parametrize(
    ("load", "waited", "sentences"),
    [
        (0.5, 0.0, []),
        (99.0, 0.0, ["The load was 99 on 2 cores"]),
        (0.5, 0.6, ["Rows with ‡ had to wait for the CPU"]),
        (99.0, 0.6, ["Rows with ‡ had to wait for the CPU", "The load was 99 on 2 cores"]),
        (None, None, []),
    ],
)
def test_a_busy_machine_is_said_in_a_box(page_of, load, waited, sentences):
    run = run_of()
    run.fingerprint["state"]["load_average_1min"] = load
    run.fingerprint["machine"]["affinity"] = [0, 1]
    results = [dataclasses.replace(r, preempted_share=waited) for r in run.results]
    head = page_of(dataclasses.replace(run, results=tuple(results))).partition("<h2>")[0]
    boxes = re.findall('<p class="alert" role="note">(.*?)</p>', head)
    assert len(boxes) == bool(sentences)
    assert all(text in boxes[0] for text in sentences)
    assert "".join(boxes).count(".") == len(sentences)


def test_the_accuracy_stands_beside_the_latency(page_of):
    engines = {"eager": {"right": 9956, "digits": 10_000}, "ort-cpu": {"right": None}}
    run = dataclasses.replace(run_of(), engines=engines, data_set="MNIST's test digits")
    page = page_of(run)
    assert re.search(r"eager.*1x</td><td>99\.56%</td></tr>", page)
    assert "Right: MNIST&#x27;s test digits that are classified right" in page
    assert words.right({"right": 59, "digits": 60}) == "59/60"  # too few for a share
    assert "<th>right</th>" not in page_of(run_of())


def test_the_table_marks_the_winner_of_each_batch_size(ours):
    winners = re.findall('<tr class="[^"]*winner[^"]*">(.*?)</tr>', ours)
    assert [re.findall(r"</svg> (\S+) ★</td><td>(\d+)<", row) for row in winners] == [
        [("ort-cpu", "1")], [("ort-cpu", "8")],
    ]  # fmt: skip


def test_the_table_holds_the_figures(ours):
    run = run_of()
    for result in run.results:
        for percent in (50, 90, 99):
            assert f"<td>{parts.shown(result.percentile_us(percent))}</td>" in ours
        assert f"<td>{result.images_per_second:,.0f}</td>" in ours
    ratio = run.ratio(run.results[1])
    assert f"{1 / ratio.value:.2f}x [{1 / ratio.high:.2f}, {1 / ratio.low:.2f}]" in ours


@pytest.mark.parametrize(
    "plot",
    [
        "latency-per-image",
        "speed-up",
        "distribution",
        "time-to-the-first-answer",
        "throughput-over-threads",
        "throughput-over-callers",
    ],
)
def test_every_plot_is_there(ours, plot):
    assert f'<div id="{plot}"' in ours


def test_what_was_not_measured_is_not_plotted(page_of):
    ours = page_of(run_of(sizes=(8,), cold_start=(), scaling=(), skipped=(), baseline=None))
    assert re.findall('<div id="([^"]*)"', ours) == ["latency-per-image", "distribution"]
    assert "Not measured" not in ours


def test_three_batch_sizes_are_lines_and_fewer_a_row_of_dots_for_each_engine():
    assert plots.latency(run_of(sizes=(1, 8))) is None
    assert plots.latency(run_of(sizes=(1, 8, 64))) is not None
    lines = plots.per_image(run_of(sizes=(1, 8, 64))).data
    assert [trace.x for trace in lines if trace.mode == "lines+markers"] == [(1, 8, 64)] * 2
    for sizes, labels in (((1, 8), ("batch 1", "batch 8")), ((8,), None)):
        figure = plots.per_image(run_of(sizes=sizes))
        assert [trace.y for trace in figure.data] == [(0,) * len(sizes), (1,) * len(sizes)]
        assert figure.layout.yaxis.ticktext == ("eager", "ort-cpu")  # the fastest on top
        assert labels in (None, figure.data[0].text)


def test_latency_per_image_and_speed_up_are_what_they_say():
    run = run_of(sizes=(1, 8, 64))
    line = plots.per_image(run).data[3]
    expected = [r.percentile_us(50) / r.batch_size for r in run.results if r.engine == "ort-cpu"]
    assert line.y == pytest.approx(expected, rel=1e-5)
    line = plots.speed_up(run).data[3]
    expected = [1 / run.ratio(r).value for r in run.results if r.engine == "ort-cpu"]
    assert line.y == pytest.approx(expected, rel=1e-5)
    assert plots.speed_up(run_of(engines=("eager",))) is None


def test_nothing_measured_is_still_a_page(page_of):
    ours = page_of(run_of(sizes=(), cold_start=(), scaling=(), interrupted=True))
    assert "Nothing was measured" in ours
    assert "was interrupted" in ours


def test_an_engine_that_had_not_settled_is_marked(page_of):
    run = run_of(engines=("eager",))
    cold = LatencyResult("slow", 1, run.results[0].rounds_ns, warm=False)
    ours = page_of(Run(run.settings, run.fingerprint, (*run.results, cold)))
    assert "slow †</td>" in ours
    assert "†" not in page_of(run)


def test_an_engine_that_waited_for_the_cpu_is_marked(page_of):
    run = run_of(engines=("eager",))
    busy = LatencyResult("slow", 1, run.results[0].rounds_ns, preempted_share=0.6)
    ours = page_of(Run(run.settings, run.fingerprint, (*run.results, busy)))
    assert "slow ‡</td>" in ours
    assert "‡" not in page_of(run)


def test_foreign_names_stay_text(page_of):
    skipped = ({"engine": SCRIPT, "reason": SCRIPT},)
    run = run_of(engines=("eager", SCRIPT), skipped=skipped)
    run.fingerprint["machine"]["cpu"] = run.fingerprint["state"]["command"] = SCRIPT
    run.engines[SCRIPT] = {"digest": SCRIPT, "threads": SCRIPT, "weights_sha256": SCRIPT}
    ours = page_of(run)
    assert "alert(1)" in ours
    assert "<script>alert" not in ours
    assert "<b>" not in ours
    own = re.findall("<script", ours)
    assert len(own) == ours.count("</script>") == len(re.findall("<script", page_of(run_of())))


def test_plotly_gets_no_markup_in_names():
    """Plotly itself turns some HTML in its labels into tags."""
    run = run_of(engines=("eager", SCRIPT))
    for figure in (
        plots.per_image(run),
        plots.speed_up(run),
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


def test_the_page_stays_small_with_twelve_engines_and_ten_batch_sizes(page_of, plotly_js):
    engines = ("eager", *(f"engine-{i}" for i in range(11)))
    ours = page_of(run_of(engines=engines, sizes=[2**i for i in range(10)]))
    assert len(ours) < 800_000
    assert len(ours) + len(plotly_js) < 3_000_000


def test_plotly_is_in_the_page_once_and_whole(plotly_js):
    from plotly.offline import get_plotlyjs

    page = report.page(run_of())
    assert page.count(plotly_js) == 1
    assert zlib.decompress(base64.b64decode(plotly_js)).decode() == get_plotlyjs()


def test_raw_samples_are_thinned():
    samples = np.random.default_rng(0).uniform(1e5, 2e5, 100_000)
    run = Run(Settings(), fingerprint(), (LatencyResult("a", 1, (samples,)),))
    curve = plots.distribution(run).data[0]
    assert len(curve.x) == len(curve.y) < 300
    assert list(curve.y) == sorted(curve.y)
    marks = plots.distribution(run).data[1]
    assert marks.customdata == pytest.approx((50, 90, 99, 99.9))
    assert marks.y[0] == pytest.approx(np.median(samples) / 1e3, rel=1e-5)


def test_the_tails_axis_gives_each_nine_the_same_width():
    """90% to 99% is as wide as 99% to 99.9%, and a curve ends where its samples do."""
    samples = np.random.default_rng(0).uniform(1e5, 2e5, 50)
    run = Run(Settings(), fingerprint(), (LatencyResult("a", 1, (samples,)),))
    figure = plots.distribution(run)
    ticks = dict(zip(figure.layout.xaxis.ticktext, figure.layout.xaxis.tickvals, strict=True))
    assert [ticks[label] for label in ("0", "90%", "99%", "99.9%")] == pytest.approx([0, 1, 2, 3])
    curve, marks = figure.data
    assert 97.5 < curve.customdata[-1] <= 98
    assert marks.customdata == pytest.approx((50, 90))


def test_no_two_engines_look_alike():
    engines = ("eager", *(f"engine-{i}" for i in range(41)), *(f"native: {i}" for i in range(30)))
    assert len(set(looks.looks(run_of(engines=engines, sizes=(1,))).values())) == 72


def test_every_backend_has_a_look_of_its_own():
    assert set(looks.BACKENDS) == set(BACKENDS) | {"eager"}
    assert len({hue for hue, _ in looks.BACKENDS.values()}) == len(looks.BACKENDS)
    used = {hue for hue, _ in looks.BACKENDS.values()}
    assert used <= looks.HUES.keys()


def test_an_engine_looks_alike_in_every_report():
    """Whoever else took part, in whatever order; the name is enough where nothing else is known."""
    alone = looks.looks(run_of(engines=("native", "mine")))
    many = ("eager", "mine", "ort-cpu", "torch-compile", "native")
    among = looks.looks(run_of(engines=many, baseline=None))
    assert {name: among[name] for name in alone} == alone
    assert len({look.hue for look in among.values()}) == 5


def test_precision_and_threads_change_dash_and_marker_but_not_the_colour():
    details = {
        "native t1": {"backend": "native", "precision": "fp32", "threads": 1},
        "native t2": {"backend": "native", "precision": "fp32", "threads": 2},
        "native int8": {"backend": "native", "precision": "int8", "threads": 1},
    }
    plain = looks.looks(run_of(engines=("native",)))["native"]
    run = dataclasses.replace(run_of(engines=tuple(details), sizes=(1,)), engines=details)
    known = looks.looks(run)
    assert known["native t1"] == plain
    assert {look.hue for look in known.values()} == {"vermilion"}
    assert known["native t2"] == dataclasses.replace(plain, marker="square-open")
    assert known["native int8"] == dataclasses.replace(plain, dash="dot")
    assert [look.glyph for look in known.values()] == ["■", "□", "■"]
    assert len({look.swatch for look in known.values()}) == 3  # the chips show the difference, too


def test_light_and_dark_have_every_colour(ours):
    light, dark = re.findall(r":root \{ (--ink.*?) \}", ours)
    names = [re.findall(r"--(\w+):", theme) for theme in (light, dark)]
    assert names[0] == names[1] == list(looks.HUES)
    assert "prefers-color-scheme: dark" in ours
    css = parts.file("page.css")
    defined = set(re.findall(r"--([\w-]+):", css)) | looks.HUES.keys() | {"share"}  # by each cell
    assert set(re.findall(r"var\(--([\w-]+)\)", ours)) <= defined


def test_one_batch_size_at_a_time_is_visible():
    shown = {t.meta["batch"] for t in plots.distribution(run_of()).data if t.visible}
    assert shown == {1}


def test_scaling_over_callers_starts_at_the_single_caller():
    (_, line, _) = plots.scaling(run_of(), "callers").data
    assert list(line.x) == [1, 2]
    assert list(line.y) == [1, 2]
    assert list(line.customdata) == [1e4, 2e4]


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
