"""Odd outputs: what is kept, what is refused in words, and files of others, which stay."""

import decimal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_jobs import child_environment, rows_of, serially

from batch_inputs import DIGITS, N
from lenet_deploy import batch
from lenet_deploy.batch import running
from lenet_runtime.errors import DeployError, InputError

PIXELS = pa.array([image.tobytes() for image in DIGITS], pa.binary(784))


@pytest.fixture(autouse=True)
def there(tmp_path, monkeypatch):
    monkeypatch.setitem(running.ENGINES, "local", lambda address: serially)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def digits(there):
    pq.write_table(pa.table({"id": range(N), "pixels": PIXELS}), there / "digits.parquet")
    return ["digits.parquet"]


def test_kept_dictionaries_may_differ_among_batches(there):
    kind = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([("kind", kind), ("pixels", pa.binary(784))])
    with pa.ipc.new_stream(there / "in.arrows", schema) as file:
        for start, name in ((0, "a"), (20, "b")):
            names = pa.array([name] * 20).dictionary_encode()
            file.write_batch(
                pa.RecordBatch.from_arrays([names, PIXELS[start : start + 20]], schema=schema)
            )
    batch.run(["in.arrows"], "labels.parquet", keep=["kind"])
    assert [row["kind"] for row in rows_of(there / "labels.parquet")] == ["a"] * 20 + ["b"] * 20


@pytest.mark.parametrize(
    ("values", "output"),
    [
        (pa.array([b"\xff"] * N), "labels.csv"),
        (pa.array(["text"] * N, pa.string_view()), "labels.csv"),
        (pa.array([1_234_567] * N, pa.duration("ns")), "labels.jsonl"),
        (pa.array([2**62] * N, pa.timestamp("s")), "labels.parquet"),
    ],
)
def test_values_that_a_kind_of_file_cannot_hold(there, values, output):
    table = pa.table({"own": values, "pixels": PIXELS})
    with pa.ipc.new_file(there / "in.arrow", table.schema) as file:
        file.write_table(table)
    with pytest.raises(DeployError, match="expected columns that this kind of file can hold"):
        batch.run(["in.arrow"], output, keep=["own"])


def test_kept_values_stay_as_they_are(there):
    own = {
        "exact": pa.array([decimal.Decimal("1.20")] * N),
        "zoned": pa.array([0] * N, pa.timestamp("us", "Europe/Berlin")),
        "half": pa.array(np.ones(N, np.float16)),
        "long": pa.array(["x" * 10_000] * N),
    }
    pq.write_table(pa.table({**own, "pixels": PIXELS}), there / "in.parquet")
    batch.run(["in.parquet"], "labels.parquet", keep=list(own))
    kept = pq.read_table("labels.parquet")
    for name, values in own.items():
        assert kept[name].combine_chunks().equals(values), name


@pytest.mark.parametrize("output", ["mine", "mine/", "/dev/null"])
def test_a_file_is_no_folder(there, digits, output):
    (there / "mine").write_text("mine")
    with pytest.raises(InputError, match=r"^output: expected a folder, or .* found the file"):
        batch.run(digits, output, force=True)
    assert (there / "mine").read_text() == "mine"


@pytest.mark.parametrize("name", ["loop.csv", "null\0.csv"])
def test_an_output_that_is_no_path(there, digits, name):
    (there / "loop.csv").symlink_to("loop.csv")
    with pytest.raises(InputError, match=r"^output: "):
        batch.run(digits, name)


@pytest.mark.parametrize("note", ['{"a": 1}', '{"job": [1], "totals": 7}', "no JSON"])
@pytest.mark.parametrize("flag", ["force", "resume"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_note_of_others_is_not_ours(there, digits, note, flag, is_there):
    (there / "labels.csv.job.json").write_text(note)
    if is_there:
        (there / "labels.csv").write_text("mine")
    with pytest.raises(InputError, match="expected nothing or an earlier output of batch"):
        batch.run(digits, "labels.csv", **{flag: True})
    assert (there / "labels.csv.job.json").read_text() == note
    assert (there / "labels.csv").exists() == is_there


def test_a_folder_of_others_is_not_ours(there, digits):
    (there / "out").mkdir()
    (there / "out" / "_job.json").write_text('{"job": 1}')
    (there / "out" / "part-000007.csv").write_text("mine")
    with pytest.raises(InputError, match="expected nothing or an earlier output of batch"):
        batch.run(digits, "out/", force=True)
    assert (there / "out" / "part-000007.csv").read_text() == "mine"


@pytest.mark.parametrize("is_link", [True, False])
def test_a_working_folder_loses_nothing_of_others(there, digits, is_link):
    own = there / ("elsewhere" if is_link else ".labels.csv.job")
    (own / "folder").mkdir(parents=True)
    (own / "folder" / "mine").write_text("mine")
    if is_link:
        (there / ".labels.csv.job").symlink_to(own)
    assert batch.run(digits, "labels.csv").rows == N
    assert (own / "folder" / "mine").read_text() == "mine"


def test_a_closed_stdout_is_no_fault(there, digits):
    code = "from lenet_deploy.cli import app; app()"
    command = [sys.executable, "-c", code, "batch", *digits, "-o", "labels.csv"]
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command],
        check=False, env=child_environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("rows", [0, N])
def test_csv_has_a_header_whatever_its_rows(there, rows):
    pq.write_table(pa.table({"pixels": PIXELS[:rows]}), there / "in.parquet")
    batch.run(["in.parquet"], "labels.csv")
    header, *lines = (there / "labels.csv").read_text().splitlines()
    assert header.startswith('"path","row","label","probability","label_2"')
    assert header.endswith('"probability_3","error"')
    assert len(lines) == rows


def test_a_slash_makes_no_folder_of_a_file(there, digits):
    (there / "mine.parquet").write_text("mine")
    with pytest.raises(InputError, match="expected nothing or an earlier output of batch"):
        batch.run(digits, "mine.parquet/", force=True)
    assert (there / "mine.parquet").read_text() == "mine"
