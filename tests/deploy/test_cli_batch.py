"""`lenet-deploy batch` as its users meet it: what it prints, its flags and its exit codes."""

import json
import re

import pytest
from batch_jobs import PARTS, ROWS, digest, serially, write_pictures, write_pixels
from cli_helper import run, set_columns

from lenet_deploy.batch import running

BAD = (3, 50)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setitem(running.ENGINES, "local", lambda address: serially)


@pytest.fixture
def pixels(tmp_path):
    return write_pixels(tmp_path / "in")


def test_a_summary_for_people(pixels, tmp_path):
    output = tmp_path / "labels.csv"
    assert f"120 rows, 0 of them errors, in {output} (" in run("batch", pixels, "-o", output).stdout
    again = run("batch", pixels, "-o", output, "--resume").stdout
    assert again == f"120 rows, 0 of them errors, in {output}; all were there already\n"


def test_rows_with_errors_are_named_and_the_exit_code_is_0(tmp_path):
    pictures = write_pictures(tmp_path / "in", bad=BAD)
    done = run("batch", pictures, "-o", tmp_path / "labels.csv")
    assert "120 rows, 2 of them errors" in done.stdout
    assert done.stderr.count("expected a picture") == len(BAD)
    assert f"{pictures}/pixels-001.parquet, row 10: " in done.stderr


def test_too_many_errors_are_exit_code_1_and_the_job_goes_on(tmp_path):
    pictures = write_pictures(tmp_path / "in", bad=BAD)
    output = tmp_path / "labels.csv"
    error = run("batch", pictures, "-o", output, "--max-errors", 1, code=1).stderr
    assert "found 2 rows with an error, and --max-errors 1 allows no more" in error
    assert "go on with a larger number and --resume" in error
    document = json.loads(
        run("batch", pictures, "-o", output, "--max-errors", 2, "--resume", "--json").stdout
    )
    seconds = document.pop("seconds")
    assert seconds > 0
    assert document.pop("artifact_digest")
    assert [error["row"] for error in document.pop("first_errors")] == [3, 10]
    assert document == {
        "output": str(output), "rows": PARTS * ROWS, "errors": 2, "rows_before": ROWS,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--force", "--resume"], "--force: starts anew, and --resume goes on"),
        (["--engine", "spark"], "--engine: expected one of local, ray, found 'spark'"),
        (["--to", "xml"], "--to: expected one of parquet, csv, jsonl, found 'xml'"),
        (["--to", "csv"], "--to: .* is of the kind parquet, not csv"),
        (["--keep", "name"], "expected a column 'name' to keep, found id, pixels"),
    ],
)
def test_wrong_flags_are_exit_code_2(flags, message, pixels, tmp_path):
    error = run("batch", pixels, "-o", tmp_path / "labels.parquet", *flags, code=2).stderr
    assert re.search(message, error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_an_output_that_exists_is_exit_code_2(pixels, tmp_path):
    output = tmp_path / "labels.jsonl"
    run("batch", pixels, "-o", output)
    before = digest(output)
    error = run("batch", pixels, "-o", output, code=2).stderr
    assert f"{output}: is there already; pass --force to start anew" in error
    assert digest(output) == before
    run("batch", pixels, "-o", output, "--force")


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_what_is_printed_never_folds_a_path(columns, pixels, tmp_path, monkeypatch):
    set_columns(monkeypatch, columns)
    shown = run("batch", pixels, "-o", tmp_path / "labels.csv").stdout
    assert shown.count("\n") == 1


def test_ctrl_c_says_how_to_go_on(pixels, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        yield next(serially(*arguments, **options))
        raise KeyboardInterrupt

    monkeypatch.setitem(running.ENGINES, "local", lambda address: interrupted)
    output = tmp_path / "labels.csv"
    shown = run("batch", pixels, "-o", output, code=130).stderr
    assert "what is done is kept: go on with the same command and --resume" in shown
    monkeypatch.setitem(running.ENGINES, "local", lambda address: serially)
    assert "40 were there already" in run("batch", pixels, "-o", output, "--resume").stdout
