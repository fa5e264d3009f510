"""Odd inputs: what is answered, and what is refused in words."""

import gzip
import os
import socket

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_jobs import rows_of, serially

import batch_inputs
from batch_inputs import DIGITS, N, npy, npz, png
from lenet_deploy import batch
from lenet_deploy.batch import running
from lenet_deploy.batch.sources import plan
from lenet_runtime.errors import InputError

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


@pytest.mark.parametrize("name", ["pipe", "pipe.png", "socket.png", "/dev/null", "/dev/zero"])
def test_what_is_no_file_is_refused(there, name):
    """A pipe would be waited for, and some devices never end."""
    if name.startswith("pipe"):
        os.mkfifo(there / name)
    with socket.socket(socket.AF_UNIX) as own:
        if name.startswith("socket"):
            own.bind(name)
        with pytest.raises(InputError, match=f"^{name}: expected a file, found a folder, a pipe"):
            plan([name])


@pytest.mark.parametrize("output", ["labels.parquet", "labels.csv", "labels.jsonl"])
def test_names_that_are_no_utf8_are_escaped(there, output):
    for name in (b"\xff.png", b"a.png"):
        with open(os.fsencode(there) + b"/" + name, "wb") as file:  # noqa: PTH123
            file.write(png(DIGITS[0]))
    assert batch.run(["*.png"], output).rows == 2
    if output.endswith("parquet"):
        assert [row["path"] for row in rows_of(there / output)] == ["a.png", "\\xff.png"]
    with pytest.raises(InputError, match=r"^output: expected a name in UTF-8"):
        batch.run(["*.png"], os.fsdecode(b"\xfe.parquet"))


def test_a_name_with_colons_keeps_its_suffix(there):
    (there / "2026::1").mkdir()
    (there / "2026::1" / "a::b.csv").write_bytes(batch_inputs.csv())
    assert [part.kind for part in plan(["2026::1/a::b.csv"])] == ["csv"]


def test_a_file_is_answered_once_by_whatever_folder_it_is_named(there):
    (there / "in").mkdir()
    (there / "in" / "a.png").write_bytes(png(DIGITS[0]))
    (there / "in" / "loop").symlink_to(".")
    (there / "link").symlink_to("in")
    (part,) = plan(["in/**/*.png", "./in/../in/a.png", "link/a.png", str(there / "in/a.png")])
    assert [file.name for file in part.files] == ["in/a.png"]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("twice.gz", gzip.compress(batch_inputs.idx()) * 2, "it goes on after 40 rows"),
        ("twice.npy.gz", gzip.compress(npy() * 2), "it goes on after 40 rows"),
        ("thin.npy", npy(DIGITS[:, :0]), r"expected images, found an array \(40, 0, 28\)"),
        ("thin.npz", npz(images=DIGITS[:, :0]), r"expected images, found an array \(40, 0, 28\)"),
    ],
)
def test_arrays_that_are_longer_or_thinner_than_images(there, name, data, says):
    (there / name).write_bytes(data)
    with pytest.raises(InputError, match=f"^{name}: .*{says}"):
        batch.run([name], "labels.csv")


def test_a_header_of_numbers_is_a_header(there):
    """As pandas writes it of an array."""
    header = ",".join(map(str, range(784)))
    (there / "digits.csv").write_bytes(batch_inputs.csv(header=header))
    summary = batch.run(["digits.csv"], "labels.csv")
    assert (summary.rows, summary.errors) == (N, 0)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_columns_that_are_called_alike(there, suffix):
    table = pa.Table.from_arrays([pa.array(range(N)), PIXELS, PIXELS], ["id", "pixels", "id"])
    table = table.set_column(2, "id", pa.array(range(N)))
    if suffix == "parquet":
        pq.write_table(table, there / "in.parquet")
    else:
        with pa.ipc.new_file(there / "in.arrow", table.schema) as file:
            file.write_table(table)
    assert batch.run([f"in.{suffix}"], "labels.csv").rows == N
    with pytest.raises(InputError, match=f"^in.{suffix}: expected one column 'id', found 2"):
        plan([f"in.{suffix}"], keep=["id"])


@pytest.mark.parametrize("keep", [["id", "id"], ["pixels"], ["label", "input_label"]])
def test_columns_that_cannot_be_kept_together(there, keep):
    names = {name: range(N) for name in ("id", "label", "input_label")}
    pq.write_table(pa.table({**names, "pixels": PIXELS}), there / "in.parquet")
    with pytest.raises(InputError, match=r"^keep: expected columns of different names"):
        plan(["in.parquet"], keep=keep)


def test_lines_that_end_in_different_ways_are_refused(there):
    """Arrow takes a carriage return for an end; rows of later parts would have other numbers."""
    lines = batch_inputs.csv().split(b"\n")
    (there / "in.csv").write_bytes(b"\n".join([*lines[:2], b"\r".join(lines[2:4]), *lines[4:]]))
    with pytest.raises(InputError, match=r"^in.csv: expected 39 rows from row 0 on, found 40"):
        batch.run(["in.csv"], "labels.csv")


def test_inputs_that_changed_are_told_in_words(there):
    for name in ("a.npy", "b.npy"):
        (there / name).write_bytes(npy())
    batch.run(["a.npy"], "labels.csv")
    with pytest.raises(InputError, match=r"its inputs have other names, sizes or times of change"):
        batch.run(["b.npy"], "labels.csv", resume=True)
