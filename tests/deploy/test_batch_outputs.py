"""The files of answers: equal bytes each time, equal rows in each kind."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_jobs import digest, rows_of, serially, write_pictures, write_pixels

from lenet_deploy import batch, bundled_artifact
from lenet_deploy.batch import outputs as kinds
from lenet_deploy.batch import running, sources
from lenet_deploy.batch.job import Parts
from lenet_deploy.batch.outputs import PART_OF_PARQUET
from lenet_deploy.batch.worker import Settings
from lenet_runtime import Artifact


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setitem(running.ENGINES, "local", lambda address: serially)


@pytest.fixture
def pixels(tmp_path):
    return str(write_pixels(tmp_path / "in"))


@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl", PART_OF_PARQUET])
def test_a_part_that_is_written_twice_has_the_same_bytes(format, pixels, tmp_path):
    """So a process that was left behind does no harm."""
    settings = Settings(Artifact.open(bundled_artifact()))
    parts = sources.plan([pixels])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        list(serially(parts, settings, Parts(tmp_path / name, format, "{}", 3)))
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_kinds_of_files_hold_the_same_rows(tmp_path):
    """Errors, nulls, commas and NaN among them."""
    pictures = str(write_pictures(tmp_path / "a, b", bad=(3,), parts=2, rows=5))
    outputs = {kind: tmp_path / f"labels.{kind}" for kind in ("parquet", "csv", "jsonl")}
    for output in outputs.values():
        batch.run([pictures], output, keep=["id"])
    rows = rows_of(outputs["parquet"])
    assert [json.loads(line) for line in outputs["jsonl"].read_text().splitlines()] == [
        pytest.approx(row) if row["top"] is None else row for row in rows
    ]
    with outputs["csv"].open(newline="") as file:
        table = list(csv.DictReader(file))
    for row, texts in zip(rows, table, strict=True):
        own = {name: "" if row[name] is None else str(row[name]) for name in row if name != "top"}
        own |= {"probability": texts["probability"]}
        for rank in (2, 3):
            entry = row["top"][rank - 1] if row["top"] else {"label": ""}
            own |= {f"label_{rank}": entry["label"]}
            own |= {f"probability_{rank}": texts[f"probability_{rank}"]}
            assert (texts[f"probability_{rank}"] == "") == (row["top"] is None)
        assert own == texts


def test_json_lines_have_no_nan_and_bytes_as_base64(tmp_path):
    table = pa.record_batch({"x": [float("nan"), 1.5], "y": [b"\xff", None]})
    with kinds.table("jsonl", tmp_path / "a.jsonl", "{}", 3) as file:
        file.write(table)
        file.close({})
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"x": None, "y": "/w=="}, {"x": 1.5, "y": None}]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_job_without_rows_has_an_output_without_rows(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "plan", lambda *_: [])
    assert batch.run([], tmp_path / f"labels.{kind}").rows == 0
    assert batch.run([], tmp_path / f"labels.{kind}", resume=True).rows == 0
    if kind == "parquet":
        assert pq.read_table(tmp_path / "labels.parquet").column_names[-1] == "error"
