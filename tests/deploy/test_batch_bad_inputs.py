"""What a job refuses to read, and what it says; nothing is lost without an error."""

import gzip
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import batch_inputs
import lenet_deploy
import lenet_runtime
from batch_inputs import DIGITS, FILES, N, png
from lenet_deploy.batch import delimited
from lenet_deploy.batch.sources import answers, plan, read
from lenet_runtime.errors import BackendUnavailable, InputError
from lenet_runtime.images import files


@pytest.fixture(scope="module")
def session():
    with lenet_runtime.load(lenet_deploy.bundled_artifact()) as session:
        yield session


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_all(inputs, session):
    return pa.Table.from_batches(b for p in plan(inputs) for b in answers(p, read(p), session))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere.parquet", "nowhere.parquet: no such file"),
        ("*.parquet", r"\*.parquet: no file matches"),
        ("empty", "empty: expected pictures, found none in this folder"),
        ("memory://nowhere/a.npy", "memory://nowhere/a.npy: no such file"),
        ("memory://nowhere/*.npy", r"memory://nowhere/\*.npy: no file matches"),
        ("memory://empty", "memory://empty: expected pictures, found none in this folder"),
        ("nothing://x", "nothing://x: Protocol not known: nothing"),
    ],
)
def test_an_input_that_names_no_file(there, name, says):
    fsspec = pytest.importorskip("fsspec")
    (there / "empty").mkdir()
    (there / "empty" / "notes.txt").write_text("no picture")
    fsspec.filesystem("memory").makedirs("/empty", exist_ok=True)
    with pytest.raises(InputError, match=f"^{says}"):
        plan([name])


@pytest.mark.parametrize(
    "name", sorted({"x.parquet", "x.csv", "x.npy", "x.npz", "x.arrow", "x.csv.gz"})
)
def test_an_empty_file(there, name):
    (there / name).write_bytes(gzip.compress(b"") if name.endswith(".gz") else b"")
    with pytest.raises(InputError, match=f"^{name}: expected .*, found an empty file"):
        plan([name])


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(".csv")])
def test_a_truncated_file(session, there, name, share):
    """Refused with its name, in planning or in reading."""
    data = FILES[name]
    (there / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=f"^{name}: expected .*, found a damaged file or another"):
        read_all([name], session)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("cut.csv", batch_inputs.csv()[:-20_000][:-9], "Expected 784 columns, got"),
        ("words.csv", b"a,b\n1,2\n", "expected a column for each pixel, such as 784, found 2"),
        ("word.csv", batch_inputs.csv().replace(b"\n0,", b"\nzero,", 3), "invalid value 'zero'"),
        ("head.csv", batch_inputs.PIXELS.encode(), "it has no rows"),
        ("range.csv", batch_inputs.csv(DIGITS / 10), "expected whole numbers of 0 to 255, or"),
        ("long.csv", batch_inputs.csv() + b"1" * 50_000, "a line of more than"),
        ("labels-idx1", b"\0\0\x08\x01\0\0\0\1\7", "these are IDX labels; give the file of images"),
        ("floats-idx3", b"\0\0\x08\x02" + bytes(8), "it begins with"),
        ("more-idx3", batch_inputs.idx() + b"\0", "expected 31360 bytes .*, found 31361"),
        ("text.npy", batch_inputs.npy(np.array(["a", "b"])), "expected numbers, found <U1"),
        ("lists.npy", b"\x93NUMPY\1\0v\0" + b"{'descr': '|O', 'fortran_order': False, "
         b"'shape': (3, 784), }".ljust(117) + b"\n", "expected numbers, found object"),
        ("fortran.npy", batch_inputs.npy(np.asfortranarray(DIGITS)), "Fortran"),
        ("one.npy", batch_inputs.npy(np.array(1)), "found a single number"),
        ("other.npz", batch_inputs.npz(weights=DIGITS), r"named images, found \['weights'\]"),
        ("few.npz", batch_inputs.npz(images=DIGITS, labels=np.arange(3)), "expected 40 labels"),
        ("text.parquet", b"PAR1 and more", "expected Parquet, found a damaged file"),
        ("text.arrow", b"no Arrow at all", "expected Arrow IPC, found a damaged file"),
    ],
)  # fmt: skip
def test_a_file_that_is_something_else(session, there, monkeypatch, name, data, says):
    monkeypatch.setattr(delimited, "_LINE", 30_000)
    for name_of_bytes in ("_BLOCK", "_KNOWN"):
        monkeypatch.setattr(delimited, name_of_bytes, 15_000)
    (there / name).write_bytes(data)
    with pytest.raises(InputError, match=f"^{name}: .*{says}"):
        read_all([name], session)


def test_columns_that_differ_among_files(there):
    digits = batch_inputs.table()
    lists = digits["pixels"].combine_chunks().cast(pa.list_(pa.uint8()))
    named = {
        "a": digits,
        "lists": digits.set_column(1, "pixels", lists),
        "names": digits.rename_columns(["id", "image"]),
        "ids": digits.set_column(0, "id", digits["id"].cast(pa.string())),
        "bare": digits.select(["pixels"]),
    }
    for name, table in named.items():
        pq.write_table(table, there / f"{name}.parquet")

    def refused(second, *keep, column=None):
        with pytest.raises(InputError) as error:
            plan(["a.parquet", f"{second}.parquet"], column, keep)
        return str(error.value)

    assert refused("lists") == (
        "lists.parquet: expected 'pixels' of fixed_size_list<element: uint8>[784], as in "
        "a.parquet, found list<element: uint8>"
    )
    assert refused("names").startswith("names.parquet: expected one of id, image, found 'pixels'")
    assert refused("ids", "id") == (
        "ids.parquet: expected 'id' of int64, as in a.parquet, found string"
    )
    assert refused("bare", "id") == ("bare.parquet: expected a column 'id' to keep, found pixels")
    assert refused("a", "no").startswith("a.parquet: expected a column 'no' to keep, found id, pix")
    assert refused("a", column="id").startswith("a.parquet: expected pictures (binary) or pixels")
    assert len(plan(["a.parquet", "ids.parquet"])) == 2  # where ids are not kept
    (there / "scan.png").write_bytes(png(DIGITS[0]))
    with pytest.raises(InputError, match="keep: pictures have no columns to repeat, found id"):
        plan(["a.parquet", "scan.png"], keep=["id"])


def test_no_column_can_be_meant(there):
    pq.write_table(pa.table({"id": [1], "name": ["a"]}), there / "a.parquet")
    with pytest.raises(InputError, match=r"^a.parquet: .*found id \(int64\), name \(string\)"):
        plan(["a.parquet"])


@pytest.mark.parametrize("change", ["gone", "another"])
@pytest.mark.parametrize("name", ["digits.parquet", "digits.npy", "digits.csv", "digits.arrow"])
def test_a_file_that_changes_after_planning(there, name, change):
    path = there / name
    path.write_bytes(FILES[name])
    (part, *_) = plan([name])
    path.unlink()
    if change == "another":
        path.write_bytes(FILES[name] + b"more")
    says = {"gone": "is gone since the job was planned", "another": "has changed since the job"}
    with pytest.raises(InputError, match=f"^{name}: {says[change]}"):
        next(read(part))


def test_pictures_that_change_after_planning_are_rows_with_errors(session, there):
    for i in range(5):
        (there / f"{i}.png").write_bytes(png(DIGITS[i]))
    (part,) = plan(["*.png"])
    (there / "1.png").unlink()
    (there / "2.png").write_bytes(b"no picture")
    (there / "3.png").unlink()
    (there / "3.png").mkdir()
    (batch,) = answers(part, read(part), session)
    errors = batch.column("error").to_pylist()
    assert errors[0] is errors[4] is None
    assert errors[1] == "is gone since the job was planned"
    assert errors[2] == "has changed since the job was planned; start anew with force=True"
    assert errors[3]
    assert batch.column("label").null_count == 3


def test_an_error_of_the_pixels_names_the_file(session, there):
    (there / "white.npy").write_bytes(batch_inputs.npy(255 - DIGITS))
    with pytest.raises(InputError, match=r"^white.npy: images: .*black ones on white"):
        read_all(["white.npy"], session)
    (there / "small.npy").write_bytes(batch_inputs.npy(DIGITS[:, :20, :20]))
    with pytest.raises(InputError, match=r"^small.npy: pixels: not one .*found 400"):
        read_all(["small.npy"], session)


@pytest.mark.parametrize(
    ("url", "package", "says"),
    [
        ("s3://bucket/*.parquet", "s3fs", "reading s3:// needs .*: pip install fsspec s3fs"),
        ("gs://bucket/a.png", "gcsfs", "reading gs:// needs .*: pip install fsspec gcsfs"),
        ("memory://a.png", "fsspec", "reading memory:// needs .*: pip install fsspec$"),
    ],
)
def test_a_package_that_is_missing(monkeypatch, url, package, says):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendUnavailable, match=says):
        plan([url])


def test_size_is_not_bounded(session, there, monkeypatch):
    """The bound of what is read as a whole does not hold here, where nothing is."""
    monkeypatch.setattr(files, "MAX_BYTES", 1000)
    for name in ("digits.npy", "digits.npz", "digits-idx3-ubyte.gz", "digits.csv"):
        (there / name).write_bytes(FILES[name])
        assert len(read_all([name], session)) == N
