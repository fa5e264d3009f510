"""What a job reads: each kind of file, here and behind URLs, cut into parts of its rows."""

import os
import pickle
import struct
import tracemalloc

import pyarrow as pa
import pyarrow.parquet
import pytest

import batch_inputs
import lenet_deploy
import lenet_runtime
from batch_inputs import DIGITS, FILES, LABELS, N, png
from lenet_deploy.batch import arrays, delimited, pictures, tables
from lenet_deploy.batch.sources import answers, fingerprint, plan, read


@pytest.fixture(scope="module")
def session():
    with lenet_runtime.load(lenet_deploy.bundled_artifact()) as session:
        yield session


@pytest.fixture
def small(monkeypatch):
    """Parts of few rows."""
    monkeypatch.setattr(arrays, "PART", 15)
    monkeypatch.setattr(arrays, "ROWS", 7)
    monkeypatch.setattr(delimited, "_PART", 30_000)
    monkeypatch.setattr(delimited, "_BLOCK", 15_000)
    monkeypatch.setattr(pictures, "PICTURES", 15)


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder of all files, which is the current one."""
    monkeypatch.chdir(tmp_path)
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "scans").mkdir()
    for number, digit in enumerate(DIGITS):
        (tmp_path / "scans" / f"{number:02}.png").write_bytes(png(digit))
    return tmp_path


def labels_of(session, planned):
    """All answers, once as planned and once by way of pickles in another order."""
    batches = [batch for part in planned for batch in answers(part, read(part), session)]
    again = {
        part.number: list(answers(part, read(part), session))
        for part in reversed(pickle.loads(pickle.dumps(planned)))
    }
    assert batches == [batch for number in sorted(again) for batch in again[number]]
    return pa.Table.from_batches(batches)


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_is_answered_row_by_row(session, there, small, name):
    planned = plan([name])
    assert [part.number for part in planned] == [*range(len(planned))]
    assert sum(part.rows for part in planned) == N
    whole = name.endswith((".gz", ".npz", ".arrows", ".feather")) or name == "stream.arrow"
    assert (len(planned) == 1) == whole
    table = labels_of(session, planned)
    assert table["row"].to_pylist() == [*range(N)]
    assert table["path"].to_pylist() == [name] * N
    prediction = session.predict(DIGITS)
    assert table["error"].null_count == N
    assert table["label"].to_pylist() == [answer["label"] for answer in prediction]
    if not name.startswith(("floats", "fractions")):
        expected = [answer["probability"] for answer in prediction]
        assert table["probability"].to_pylist() == expected


@pytest.mark.parametrize(
    ("name", "keep", "kept", "expected"),
    [
        ("digits.parquet", "id", "id", [*range(N)]),
        ("digits.arrow", "id", "id", [*range(N)]),
        ("digits.arrows", "id", "id", [*range(N)]),
        ("digits.npz", "label", "input_label", LABELS.tolist()),
        ("labels.csv", "label", "input_label", LABELS.tolist()),
        ("bare-labels.csv", "label", "input_label", LABELS.tolist()),
    ],
)
def test_columns_are_kept(session, there, small, name, keep, kept, expected):
    table = labels_of(session, plan([name], keep=[keep]))
    assert table.schema.names[:3] == ["path", "row", kept]
    assert table[kept].to_pylist() == expected


def test_a_data_set_of_hugging_face(session, there, small):
    """Pictures in structs, and a column called ``label``, as ours is."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": png(digit), "path": None} for digit in DIGITS]
    images = pa.table({"image": pa.array(rows, kind), "label": LABELS})
    pa.parquet.write_table(images, there / "train.parquet", row_group_size=10)
    planned = plan(["train.parquet"], keep=["label"])
    assert [part.rows for part in planned] == [10] * 4
    table = labels_of(session, planned)
    assert table["input_label"].to_pylist() == LABELS.tolist()
    expected = session.predict([png(digit) for digit in DIGITS])
    assert table["label"].to_pylist() == [answer["label"] for answer in expected]


def test_pictures_of_a_folder(session, there, small):
    (there / "scans" / "deeper").mkdir()
    (there / "scans" / "deeper" / "one.png").write_bytes(png(DIGITS[0]))
    (there / "scans" / "notes.txt").write_text("no picture")
    (there / "scans" / ".hidden.png").write_bytes(png(DIGITS[0]))
    planned = plan(["scans"])
    assert [part.rows for part in planned] == [15, 15, 10]
    table = labels_of(session, planned)
    assert table["path"].to_pylist() == [f"scans/{i:02}.png" for i in range(N)]
    assert table["row"].null_count == N
    expected = session.predict([png(digit) for digit in DIGITS])
    assert table["label"].to_pylist() == [answer["label"] for answer in expected]
    assert len(plan(["scans/**/*.png"])[-1].files) == 11


def test_a_picture_is_known_by_its_bytes_too(session, there):
    (there / "scan").write_bytes(png(DIGITS[3]))
    (there / "notes.txt").write_text("no picture")
    table = labels_of(session, plan(["scan", "notes.txt"]))
    assert table["error"].to_pylist()[0] is None
    assert "expected a picture" in table["error"].to_pylist()[1]


def test_a_plan_is_sorted_and_names_each_file_once(there):
    inputs = ["scans/03.png", "digits.npy", "scans/*.png", "./digits.npy", str(there / "scans")]
    planned = plan(inputs)
    names = [file.name for part in planned for file in part.files]
    rest = [f"scans/{i:02}.png" for i in range(N) if i != 3]
    assert names == ["scans/03.png", "digits.npy", *rest]
    assert [part.kind for part in planned] == ["pictures", "npy", "pictures"]
    assert plan(inputs) == planned


def test_a_fingerprint_tells_inputs_apart(there):
    before = fingerprint(plan(["digits.npy", "scans"]))
    assert before == fingerprint(plan(["digits.npy", "scans"]))
    seen = {before, fingerprint(plan(["scans", "digits.npy"]))}
    os.utime(there / "scans" / "07.png", (1, 1))
    seen.add(fingerprint(plan(["digits.npy", "scans"])))
    (there / "scans" / "07.png").unlink()
    seen.add(fingerprint(plan(["digits.npy", "scans"])))
    assert len(seen) == 4


def test_a_part_is_read_from_another_folder(session, there, tmp_path_factory, monkeypatch):
    planned = plan(["digits.npy", "scans/01.png"])
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    table = labels_of(session, planned)
    assert set(table["path"].to_pylist()) == {"digits.npy", "scans/01.png"}
    assert table["error"].null_count == N + 1


def test_small_row_groups_are_answered_together(there, monkeypatch):
    monkeypatch.setattr(tables, "_MANY", 12)
    (there / "many.parquet").write_bytes(batch_inputs.parquet(rows=3))
    assert len(plan(["many.parquet"])) == 1
    monkeypatch.setattr(tables, "PART", 7)
    planned = plan(["many.parquet"])
    assert [part.rows for part in planned] == [9, 9, 9, 9, 4]
    assert [part.first for part in planned] == [0, 9, 18, 27, 36]


def test_large_pictures_are_read_a_few_at_a_time(there, monkeypatch):
    data = [bytes(1000)] * N
    pa.parquet.write_table(pa.table({"image": data}), there / "big.parquet", use_dictionary=False)
    for module in (tables, pictures):
        monkeypatch.setattr(module, "BYTES", 4000)
    (part,) = plan(["big.parquet"])
    assert {len(batch) for batch in read(part)} <= {1, 2, 3, 4}
    (part,) = plan(["scans"])
    assert max(len(batch) for batch in read(part)) < 20


def test_the_judge_sees_the_first_part_of_each_kind(there, small):
    planned = plan(["digits.npy", "rows.npy", "digits.parquet", "digits-idx3-ubyte"])
    judged = [part for part in planned if part.judge]
    assert [part.file.name for part in judged] == [
        "digits.npy", "digits.parquet", "digits-idx3-ubyte",
    ]  # fmt: skip
    assert {part.start for part in judged} == {0}


@pytest.mark.parametrize("scheme", ["memory", "file", "zip"])
def test_urls(session, there, small, scheme):
    """The same by way of fsspec, which asks each file system in its own way."""
    fsspec = pytest.importorskip("fsspec")
    if scheme == "memory":
        system = fsspec.filesystem("memory")
        for path in [*there.glob("*.*"), *there.glob("scans/*.png")]:
            system.pipe(f"/data/{path.relative_to(there)}", path.read_bytes())
        root, tail = "memory://data/", ""
    elif scheme == "file":
        root, tail = f"file://{there}/", ""
    else:
        import zipfile

        with zipfile.ZipFile(there / "all.zip", "w") as archive:
            for path in [*there.glob("digits.*"), *there.glob("scans/*.png")]:
                archive.write(path, path.relative_to(there))
        root, tail = "zip://", f"::file://{there}/all.zip"
    names = ["digits.parquet", "digits.npy", "digits.csv", "digits.csv.gz", "digits.arrow"]
    for name in [*names, "scans/*.png", "scans"]:
        planned = plan([f"{root}{name}{tail}"])
        assert planned == plan([f"{root}{name}{tail}"])
        table = labels_of(session, planned)
        assert len(table) == N
        assert table["error"].null_count == N
        assert set(table["path"].to_pylist()) <= {
            file.path for part in planned for file in part.files if "://" in file.path
        }
    if scheme == "memory":
        before = fingerprint(plan([f"{root}scans"]))
        system.pipe("/data/scans/00.png", png(DIGITS[5]))
        assert fingerprint(plan([f"{root}scans"])) != before
        system.rm("/data", recursive=True)


def test_csv_of_labels_elsewhere(session, there):
    """Where the header says which column holds the labels."""
    rows = [f"{','.join(map(str, d.ravel()))},{n}" for d, n in zip(DIGITS, LABELS, strict=True)]
    (there / "last.csv").write_text("\n".join([f"{batch_inputs.PIXELS},label", *rows]))
    table = labels_of(session, plan(["last.csv"], keep=["label"]))
    assert table["input_label"].to_pylist() == LABELS.tolist()
    assert (
        table["label"].to_pylist() == labels_of(session, plan(["digits.csv"]))["label"].to_pylist()
    )


def test_a_missing_number_in_csv_is_a_row_with_an_error(session, there):
    lines = batch_inputs.csv().decode().splitlines()
    lines[3] = "," + lines[3].split(",", 1)[1]
    lines[5] = "300," + lines[5].split(",", 1)[1]
    (there / "gaps.csv").write_text("\n".join(lines))
    table = labels_of(session, plan(["gaps.csv"]))
    errors = {row: text for row, text in enumerate(table["error"].to_pylist()) if text}
    assert errors == {
        3: "expected pixels of 0 to 255, found a pixel that is null",
        5: "expected pixels of 0 to 255, found 300",
    }


def test_a_huge_file_takes_no_memory(there):
    """Three gigabytes, which are a hole on the disk, planned and read from near its end."""
    rows = 4_000_000
    with (there / "huge-idx3-ubyte").open("wb") as file:
        file.write(struct.pack(">BBBB3I", 0, 0, 8, 3, rows, 28, 28))
        file.truncate(16 + rows * 784)
    tracemalloc.start()
    try:
        planned = plan(["huge-idx3-ubyte"])
        batch = next(read(planned[-1]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(part.rows for part in planned) == rows
    assert batch.column("row")[0].as_py() == planned[-1].first > 3_900_000
    assert peak < 8 * 2**20


def test_what_is_read_at_once_is_bounded(there, small):
    """However long the file: no batch is larger than `ROWS` or a block."""
    for name in ("digits-idx3-ubyte", "digits.npz", "digits.csv", "digits.csv.gz"):
        sizes = [len(batch) for part in plan([name]) for batch in read(part)]
        assert sum(sizes) == N
        assert max(sizes) < 10
