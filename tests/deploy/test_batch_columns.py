"""`predict_arrow`: each kind of column is answered as `Session.predict` answers its pixels."""

import io
import pickle
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from artifact_files import write_artifact
from fake_engine import FakePredictor
from PIL import Image

import lenet_deploy
import lenet_runtime
from lenet_deploy.batch import predict_arrow
from lenet_deploy.batch.arrow import ANSWER, answer_schema
from lenet_deploy.batch.columns import find_column
from lenet_runtime import Artifact, Session
from lenet_runtime.artifact import TensorSpec
from lenet_runtime.errors import InputError
from lenet_runtime.images.digits import load_digits

DIGITS = load_digits().images[:24]
N = len(DIGITS)
FLOATS = (DIGITS / 255).astype(np.float32)
PADDED = np.pad(DIGITS, ((0, 0), (2, 2), (2, 2)))


@pytest.fixture(scope="module")
def session():
    with lenet_runtime.load(lenet_deploy.bundled_artifact()) as session:
        yield session


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


PNGS = [png(np.pad(255 - image, 20, constant_values=255)) for image in DIGITS[:6]]


def flat(kind, images=DIGITS):
    """The images as flat lists of this type."""
    return pa.array(images.reshape(len(images), -1).tolist(), kind)


def fixed(images=DIGITS):
    values = pa.array(np.ascontiguousarray(images).ravel())
    for size in images.shape[:0:-1]:
        values = pa.FixedSizeListArray.from_arrays(values, size)
    return values


def run(session, values, **options):
    """The answers to a column, as one table."""
    batch = pa.record_batch({"pixels": values})
    return pa.Table.from_batches(predict_arrow([batch], session, **options))


def same(table, prediction, rows=slice(None)):
    """Whether rows of answers are those of a prediction, to the bit."""
    table = table.take(np.arange(len(table))[rows])
    assert table["error"].null_count == len(table) == len(prediction)
    assert table["label"].to_pylist() == [prediction[i]["label"] for i in range(len(prediction))]
    expected = np.take_along_axis(prediction.probabilities, prediction.top_k, axis=1)
    np.testing.assert_array_equal(table["probability"].to_numpy(), expected[:, 0])
    assert table["top"].to_pylist() == [answer["top"] for answer in prediction]


@pytest.mark.parametrize(
    "values",
    [
        fixed(DIGITS.reshape(N, 784)),
        fixed(),
        flat(pa.list_(pa.uint8())),
        flat(pa.list_(pa.int64())),
        flat(pa.large_list(pa.int16())),
        flat(pa.list_(pa.uint64(), 784)),
        pa.array(DIGITS.tolist(), pa.list_(pa.list_(pa.int64()))),
        pa.array(DIGITS.tolist(), pa.large_list(pa.list_(pa.uint8(), 28))),
        pa.array(DIGITS.tolist(), pa.list_(pa.list_(pa.uint8(), 28), 28)),
        pa.array([image.tobytes() for image in DIGITS], pa.binary(784)),
        pa.array([image.tobytes() for image in DIGITS], pa.binary(784)).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array(range(N), pa.int8()), flat(pa.list_(pa.uint8()))),
        fixed(PADDED),
        flat(pa.list_(pa.uint8()), PADDED),
    ],
    ids=lambda values: str(values.type),
)
def test_whole_numbers_are_pixels(session, values):
    same(run(session, values), session.predict(DIGITS))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_pixels(session, dtype):
    pixels = FLOATS.astype(dtype)
    same(run(session, fixed(pixels)), session.predict(pixels))


def test_bools_are_ink(session):
    pixels = DIGITS > 99
    same(run(session, flat(pa.list_(pa.bool_()), pixels)), session.predict(pixels))


@pytest.mark.parametrize(
    "values",
    [
        pa.array(PNGS, pa.binary()),
        pa.array(PNGS, pa.large_binary()),
        pa.array(PNGS, pa.binary_view()),
        pa.array(PNGS, pa.binary()).dictionary_encode(),
        pa.array(
            [{"bytes": picture, "path": "a.png"} for picture in PNGS],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        ),
    ],
    ids=lambda values: str(values.type),
)
def test_files_of_pictures(session, values):
    same(run(session, values), session.predict(PNGS))


@pytest.mark.parametrize(
    "values",
    [
        fixed(),
        flat(pa.list_(pa.int64())),
        pa.array([image.tobytes() for image in DIGITS], pa.binary(784)),
        pa.array(DIGITS.tolist(), pa.list_(pa.list_(pa.int64()))),
    ],
    ids=lambda values: str(values.type),
)
def test_a_slice_is_its_own_rows(session, values):
    """Arrow's slices point into the memory of the whole."""
    same(run(session, values.slice(5, 9)), session.predict(DIGITS[5:14]))


BAD_ROWS = [
    (pa.list_(pa.int64()), [0] * 783, "expected 1024 or 784 pixels, found 783"),
    (pa.list_(pa.int64()), [], "expected 1024 or 784 pixels, found 0"),
    (pa.list_(pa.int64()), None, "expected pixels, found null"),
    (pa.list_(pa.int64()), [256] + [0] * 783, "expected pixels of 0 to 255, found 256"),
    (pa.list_(pa.int64()), [0] * 783 + [-1], "expected pixels of 0 to 255, found -1"),
    (pa.list_(pa.int64()), [None] + [0] * 783, "found a pixel that is null"),
    (pa.list_(pa.int64(), 784), None, "expected pixels, found null"),
    (pa.list_(pa.float32()), [1.5] + [0.0] * 783, "expected floats in [0, 1], found 1.5"),
    (pa.list_(pa.float32()), [np.nan] + [0.0] * 783, "expected floats in [0, 1], found nan"),
    (pa.binary(784), None, "expected pixels, found null"),
]


@pytest.mark.parametrize(("kind", "bad", "error"), BAD_ROWS)
def test_a_bad_row_has_its_error_and_the_others_their_answers(session, kind, bad, error):
    if pa.types.is_fixed_size_binary(kind):
        rows, pixels = [image.tobytes() for image in DIGITS], DIGITS
    else:
        pixels = FLOATS if pa.types.is_floating(kind.value_type) else DIGITS
        rows = pixels.reshape(N, -1).tolist()
    table = run(session, pa.array([*rows[:7], bad, *rows[7:], bad], kind))
    for row in (7, N + 1):
        answer = table.slice(row, 1).to_pylist()[0]
        assert error in answer["error"]
        assert answer["label"] is answer["probability"] is answer["top"] is None
    good = np.delete(np.arange(N + 2), [7, N + 1])
    same(table, session.predict(pixels), good)


def test_a_nested_row_of_another_shape_is_an_error(session):
    """Of as many pixels as an image has."""
    rows = [*DIGITS.tolist(), np.zeros((14, 56), int).tolist()]
    rows[3] = [*rows[3][:-2], rows[3][-2][:-1], [*rows[3][-1], 0]]
    rows.append([None, *DIGITS[0].tolist()[1:]])
    table = run(session, pa.array(rows, pa.list_(pa.list_(pa.int64()))))
    errors = {row: text for row, text in enumerate(table["error"].to_pylist()) if text}
    assert list(errors) == [3, N, N + 1]
    assert "784 in another shape" in errors[3]
    assert "found 756" in errors[N + 1]
    good = np.delete(np.arange(N + 2), [3, N, N + 1])
    same(table, session.predict(np.delete(DIGITS, 3, axis=0)), good)


def test_rows_of_both_sizes_stay_in_their_places(session):
    rows = [image.ravel().tolist() for pair in zip(DIGITS, PADDED, strict=True) for image in pair]
    table = run(session, pa.array(rows, pa.list_(pa.uint8())))
    same(table, session.predict(np.repeat(DIGITS, 2, axis=0)))


def test_damaged_pictures_are_rows_with_errors(session):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [None, {"bytes": None, "path": "there.png"}, {"bytes": b"<html>"}, {"bytes": PNGS[0]}]
    table = run(session, pa.array(rows, kind))
    null, path, html, good = table["error"].to_pylist()
    assert null == "expected a picture, found null"
    assert path == "expected a picture's bytes, found the path 'there.png' alone"
    assert html.startswith("expected a picture, found an HTML page")
    assert good is None
    same(table, session.predict(PNGS[:1]), [3])


@pytest.mark.parametrize("size", [1, 7, 24, 100])
def test_answers_do_not_depend_on_batches(session, size):
    rows = [*DIGITS.reshape(N, -1).tolist(), [0] * 9, None]
    batch = pa.record_batch({"pixels": pa.array(rows * 3, pa.list_(pa.int64()))})
    whole = pa.Table.from_batches(predict_arrow([batch], session))
    cut = [batch.slice(start, size) for start in range(0, len(batch), size)]
    answers = list(predict_arrow(cut, session))
    assert [len(answer) for answer in answers] == [len(part) for part in cut]
    assert pa.Table.from_batches(answers).equals(whole)


def test_the_schema_depends_on_nothing(session):
    """Neither on errors, nor on options, nor on how many rows there are."""
    schemas = [
        run(session, pa.array(rows, pa.list_(pa.int64())), **options).schema
        for rows in ([], [None], DIGITS.reshape(N, -1).tolist())
        for options in ({}, {"top_k": 1}, {"column": "pixels"}, {"judge": False})
    ]
    assert all(schema == ANSWER for schema in schemas)


def test_other_columns_are_kept(session):
    batch = pa.record_batch({"id": range(N), "label": list("x" * N), "pixels": fixed()})
    (answer,) = predict_arrow([batch], session)
    assert answer.schema.names == ["id", "input_label", *ANSWER.names]
    assert answer.schema == answer_schema(batch.schema, "pixels")
    assert answer.column("input_label").to_pylist() == ["x"] * N
    (answer,) = predict_arrow([batch], session, keep=["id"])
    assert answer.schema.names == ["id", *ANSWER.names]
    with pytest.raises(InputError, match="keep: expected some of id, label, pixels, found 'no'"):
        list(predict_arrow([batch], session, keep=["no"]))
    with pytest.raises(InputError, match="keep: expected other names"):
        list(predict_arrow([batch], session, keep=["id", "id"]))


def test_it_takes_a_folder_and_can_be_pickled_for_spark(session):
    answer = partial(predict_arrow, artifact=lenet_deploy.bundled_artifact(), top_k=2)
    (batch,) = pickle.loads(pickle.dumps(answer))(iter([pa.record_batch({"x": fixed()})]))
    same(pa.Table.from_batches([batch]), session.predict(DIGITS, top_k=2))
    assert list(predict_arrow([], "nowhere")) == []


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (fixed(255 - DIGITS), r"black ones on white.*pass 255 - images"),
        (fixed(DIGITS // 16), r"none above 15"),
        (fixed((DIGITS > 99).astype(np.int64)), r"images.astype\(bool\)"),
        (
            fixed(DIGITS.astype(np.float32)),
            "not one of the first 24 rows is right.*floats in.*divide them by 255",
        ),
        (fixed(1 - FLOATS), "black ones on white.*pass 1 - images"),
        (fixed(DIGITS[:, :27, :27]), r"not one of the first 24 rows is right.*found 729"),
    ],
)
@pytest.mark.parametrize("size", [1, 24])
def test_an_input_that_means_something_else_is_refused_as_a_whole(session, values, says, size):
    batch = pa.record_batch({"pixels": values})
    cut = [batch.slice(start, size) for start in range(0, N, size)]
    with pytest.raises(InputError, match=says):
        next(predict_arrow(cut, session))


def test_only_the_first_rows_are_judged(session):
    """So that what a row gets is not what its neighbours are."""
    dark = (DIGITS // 16)[:1]
    many = np.concatenate([np.resize(DIGITS, (1024, 28, 28)), dark, 255 - DIGITS])
    batches = [pa.record_batch({"pixels": fixed(many[i : i + 1])}) for i in range(1016, 1049)]
    first = pa.record_batch({"pixels": fixed(many[:1016])})
    answers = pa.Table.from_batches(predict_arrow([first, *batches], session))
    assert answers["error"].null_count == len(many)
    with pytest.raises(InputError, match="none above 15"):
        next(predict_arrow([pa.record_batch({"pixels": fixed(dark)})], session))
    assert (
        len(next(predict_arrow([pa.record_batch({"x": fixed(dark)})], session, judge=False))) == 1
    )


def test_a_static_artifact_is_filled_up(tmp_path):
    artifact = Artifact.open(write_artifact(tmp_path / "static", batch=4))
    predictor = FakePredictor()
    session = Session(predictor, artifact, "fake")
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32), np.uint8)
    rows = [*images.reshape(6, -1).tolist(), None]
    table = run(session, pa.array(rows, pa.list_(pa.uint8())))
    assert [len(batch) for batch in predictor.batches] == [4, 4]
    for rows, batch in ([0, 1, 2, 3], images[:4]), ([2, 3, 4, 5], images[2:]):
        same(table, session.predict(batch), rows)
    assert table["error"].to_pylist() == [None] * 6 + ["expected pixels, found null"]


def test_colours(tmp_path):
    """Photos of three channels, flat, nested or grey, for a network of 40x36."""
    specs = TensorSpec("images", "float32", (None, 3, 40, 36))
    artifact = Artifact.open(write_artifact(tmp_path / "colour", inputs=(specs,)))
    session = Session(FakePredictor(), artifact, "fake")
    photos = np.random.default_rng(0).integers(0, 256, (5, 40, 36, 3), np.uint8)
    expected = session.predict(photos)
    same(run(session, fixed(photos)), expected)
    same(run(session, fixed(photos.reshape(5, -1))), expected)
    grey = photos[..., 0].copy()
    same(run(session, fixed(grey)), session.predict(grey))
    pictures = [png(photo) for photo in photos]
    same(run(session, pa.array(pictures)), session.predict(pictures))


LISTS, BYTES = pa.list_(pa.uint8(), 784), pa.binary()


@pytest.mark.parametrize(
    ("fields", "column"),
    [
        ({"id": pa.int64(), "digit": LISTS}, "digit"),
        ({"thumbnail": BYTES, "image": BYTES}, "image"),
        ({"name": pa.string(), "x": pa.dictionary(pa.int8(), BYTES)}, "x"),
        ({"a": pa.list_(pa.string()), "b": pa.list_(pa.bool_())}, "b"),
    ],
)
def test_the_column_that_can_be_meant(fields, column):
    assert find_column(pa.schema(fields), None) == column


@pytest.mark.parametrize(
    ("fields", "column", "says"),
    [
        ({"a": LISTS, "b": BYTES}, None, "expected one column.*found a, b; pass column='a'"),
        ({"id": pa.int64()}, None, r"expected a column of pictures.*found id \(int64\)"),
        ({}, None, "found none"),
        ({"pixels": LISTS}, "pixel", "found 'pixel'; did you mean pixels"),
        ({"id": pa.int64(), "b": BYTES}, "id", "found a column 'id' of int64"),
    ],
)
def test_a_column_that_cannot(fields, column, says):
    with pytest.raises(InputError, match=says):
        find_column(pa.schema(fields), column)


def test_batches_of_two_schemas_are_refused(session):
    kinds = fixed(), flat(pa.list_(pa.int16()))
    batches = [pa.record_batch({"pixels": values}) for values in kinds]
    with pytest.raises(InputError, match="expected batches of pixels: fixed_size_list"):
        list(predict_arrow(batches, session))


def test_nulls_inside_lists_of_equal_lengths(session):
    """Arrow leaves out what is null when it takes lists apart, so that later rows would move."""
    rows = DIGITS.tolist()
    rows[2][5], rows[4][0][7] = None, None
    table = run(session, pa.array(rows, pa.list_(pa.list_(pa.uint8(), 28), 28)))
    errors = {row: text for row, text in enumerate(table["error"].to_pylist()) if text}
    assert errors == {
        2: "expected 1024 or 784 pixels, found 756",
        4: "expected pixels of 0 to 255, found a pixel that is null",
    }
    good = np.delete(np.arange(N), [2, 4])
    same(table, session.predict(DIGITS[good]), good)
