"""`bench --scenario server`: what it takes and prints, its reports and its page."""

import csv
import io
import json

import numpy as np
import pytest
from cli_helper import assert_fits, run, set_columns

from lenet_bench.html.open_loop import page
from lenet_bench.openloop.measure import LoadSettings
from lenet_bench.openloop.report import LoadRun, csv_text
from lenet_bench.openloop.result import RateResult
from lenet_bench.openloop.search import Found
from lenet_bench.openloop.sending import Sent
from lenet_bench.openloop.targets import CallTarget
from lenet_deploy.cli.bench_load_tables import print_load
from lenet_deploy.cli.bench_server import microseconds_of, rates_of
from lenet_runtime.errors import DeployError, InputError

US, MS = 10**3, 10**6
HOSTILE = "</script><b>[red]\x1b[2J"
QUICK = ("--scenario", "server", "--min-time", "0.05")


def result_of(target, rate, latency_us, late_us=0, errors=()):
    latency = np.full(2000, latency_us * US)
    due = np.arange(2000) * 10**9 // rate
    stall = due >= due[1000]
    latency[stall] = np.maximum(latency[stall], due[1000] + 4 * MS - due[stall])
    answered = np.arange(2000) >= len(errors)
    late, waited = np.full(2000, late_us * US), np.zeros(2000, bool)
    sent = Sent(due, due + latency, answered, late, waited, errors, 7)
    return RateResult(target, rate, 2000 / rate, (sent,))


@pytest.fixture
def load_run():
    rates = {500: 100, 1000: 110, 2000: 120, 4000: 900}
    results = [result_of("ours", rate, us) for rate, us in rates.items()]
    results.append(result_of(HOSTILE, 500, 200, late_us=150, errors=("no answer",)))
    return LoadRun(
        settings=LoadSettings((500, 1000, 2000, 4000), 500.0),
        fingerprint={
            "machine": {"cpu": "a CPU", "affinity": [0]}, "state": {"load_average_1min": 9},
        },
        results=tuple(results),
        targets={"ours": {"backend": "native", "concurrency": 1}, HOSTILE: {"protocol": "http"}},
        found=(
            Found("ours", 500.0, 2000.0, 2000.0, 2040.0, complete=True),
            Found(HOSTILE, 500.0, None, 0.0, None, complete=False, ended_by="it was the limit"),
        ),
    )  # fmt: skip


def test_the_json_is_strict_and_has_every_sample(load_run):
    document = json.loads(json.dumps(load_run.to_dict(), allow_nan=False))
    first, *_, last = document["results"]
    assert document["schema"] == "lenet-open-loop/1"
    assert first["p50_us"] == 100
    assert first["p99.99_us"] is None
    assert [len(window) for window in first["windows_ns"]] == [2000]
    assert first["p99_holds"] is True
    assert (last["p50_us"], last["p99_holds"], last["unanswered"]) == (None, None, 1)
    assert "the generator was the limit" in last["refused"]
    assert last["windows_ns"][0][:2] == [None, 200_000]
    assert [round(stall["ms"]) for stall in first["stalls_ms"]] == [4]
    assert document["knees_per_second"] == {"ours": 2000, HOSTILE: None}
    assert document["found"][0]["high"] == 2040


def test_the_csv_has_a_line_for_each_figure(load_run):
    lines = list(csv.DictReader(io.StringIO(csv_text(load_run))))
    assert [line["offered_per_second"] for line in lines] == ["500", "1000", "2000", "4000", "500"]
    assert lines[0]["p50_us"] == "100"
    assert lines[0]["backend"] == "native"
    assert lines[4]["p50_us"] == ""
    assert lines[4]["refused_percentiles"].split()[:2] == ["p50", "p90"]


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_tables_fit_the_terminal(load_run, monkeypatch, capsys, columns):
    set_columns(monkeypatch, columns)
    print_load(load_run)
    shown = capsys.readouterr().out
    assert_fits(shown, columns)
    assert "refused" in shown
    assert "\x1b[2J" not in shown
    assert "the load was 9 on 1 core " in " ".join(shown.split())
    assert "2,000 to 2,040" in shown


def test_the_page_has_the_plots_and_lets_no_name_be_code(load_run):
    html = page(load_run)
    assert HOSTILE not in html
    assert html.count('<figure class="plot">') == 2
    assert "knee" in html
    assert "<td>refused</td>" in html
    assert "2,000 to 2,040" in html


def test_an_empty_run_makes_a_page_and_no_table(load_run, capsys):
    empty = LoadRun(load_run.settings, {}, (), interrupted=True)
    assert "Nothing was measured" in page(empty)
    print_load(empty)
    assert "nothing was measured" in capsys.readouterr().out


def test_a_session_is_measured_at_each_rate(onnx_artifact, tmp_path):
    files = {flag: tmp_path / flag.strip("-") for flag in ("--json", "--csv", "--html")}
    outputs = [word for pair in files.items() for word in pair]
    run("bench", onnx_artifact.path, *QUICK, "--rate", "10000,20000", *outputs, "--seed", "3")
    document = json.loads(files["--json"].read_text())
    rates = [r["offered_per_second"] for r in document["results"] if r["target"] == "ort-cpu"]
    assert rates == [10_000, 20_000]
    assert document["settings"]["seed"] == 3
    assert document["settings"]["min_seconds"] == 0.05
    assert files["--csv"].read_text().startswith("target,")
    assert "<title>LeNet under load" in files["--html"].read_text()


def test_a_server_that_goes_away_leaves_what_was_measured(monkeypatch, tmp_path):
    """Its error is said at the end, and the command fails."""

    class Dying(CallTarget):
        """A server that answers one window."""

        def warm_up(self):
            if self.windows:
                raise DeployError("ours: the server closed the connection")
            self.windows += 1

        windows = 0

    target = Dying("ours", lambda images: None)
    monkeypatch.setattr("lenet_bench.openloop.targets.connect", lambda url, concurrency: target)
    file = tmp_path / "a.json"
    words = ("--url", "http://h", "--rate", "9000,10000", "--json", file)
    result = run("bench", *QUICK, *words, code=1)
    assert "the server closed the connection" in result.stderr
    document = json.loads(file.read_text())
    assert document["interrupted"]
    assert [r["offered_per_second"] for r in document["results"]] == [9000]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scenario", "server"), "expected --rate"),
        (("--rate", "5"), "--scenario server"),
        (("--url", "http://h"), "--scenario server"),
        ((*QUICK, "--rate", "5", "--batch-sizes", "8"), "--batch-sizes"),
        ((*QUICK, "--rate", "5", "--cold-start", "--force"), "--cold-start, --force"),
        ((*QUICK, "--rate", "none"), "--rate"),
        ((*QUICK, "--p99", "5"), "--p99"),
        ((*QUICK, "--rate", "5", "--url", "h:80"), "--url"),
        ((*QUICK, "--rate", "5", "--url", "a=http://127.0.0.1:9"), "nobody answers"),
    ],
)
def test_what_does_not_go_is_refused(words, message):
    result = run("bench", *words, code=1 if message == "nobody answers" else 2)
    assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("text", "us"), [("500us", 500), ("2ms", 2000), ("0.5 ms", 500), ("1s", 10**6)]
)
def test_times_have_units(text, us):
    assert microseconds_of(text) == us


@pytest.mark.parametrize("text", ["500", "us", "0us", "2s", "-1ms", "nanus", "1e3us"])
def test_what_is_no_time(text):
    with pytest.raises(InputError, match="--p99"):
        microseconds_of(text)


def test_rates_are_numbers_each_once():
    assert rates_of("500, 1000,500") == (500, 1000)
    for wrong in ("", "0", "x", "1,,2", "300000", "1e3"):
        with pytest.raises(InputError, match="--rate"):
            rates_of(wrong)
