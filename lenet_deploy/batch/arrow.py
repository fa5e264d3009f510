"""`predict_arrow`: record batches of pictures or pixels in, record batches of answers out.

Rows are answered one by one, whatever batch they come in. One question cannot be put to a row:
whether numbers are white ink on black paper, of 0 to 255, or mean something else. `Session.predict`
asks it of the whole array that it is given, so that the same row could be answered in one batch and
refused in another. Here it is put once, to the first `JUDGED` rows of the input, which are read
before the first answer: if they are dark ink on light paper, no brighter than 16 of 255, or not one
of them is pixels, the input is refused as a whole. Later rows are never judged by their
neighbours: one that holds a number outside the range is a row with an error, and an image that is
all dark is answered as it is.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

import lenet_runtime
from lenet_deploy.batch.columns import find_column, is_of_pictures
from lenet_deploy.batch.decoding import Decoded, Decoder
from lenet_runtime import Session
from lenet_runtime.errors import InputError
from lenet_runtime.images.prediction import Prediction
from lenet_runtime.images.preprocess import to_pixels

JUDGED = 1024  # rows at the beginning of an input
_IMAGES = 1024  # in one call of the session
RANKED = pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float32())]))
ANSWER = pa.schema(
    [("label", pa.string()), ("probability", pa.float32()), ("top", RANKED), ("error", pa.string())]
)


def predict_arrow(
    batches: Iterable[pa.RecordBatch],
    artifact: str | Path | Session,
    *,
    column: str | None = None,
    keep: Sequence[str] | None = None,
    top_k: int | None = None,
    trust: bool = False,
    judge: bool = True,
) -> Iterator[pa.RecordBatch]:
    """Classify the rows of record batches; each batch is answered by one of as many rows.

    ``functools.partial(predict_arrow, artifact=..., column=...)`` is what Spark's `mapInArrow`
    takes. A row that holds no digit (a damaged picture, too few pixels, null) is answered with an
    error and no label; the others go on, and get what `Session.predict` answers to the same
    pixels, to the bit.

    Args:
        batches: Record batches, of any number of rows, whose schemas are equal.
        artifact: An exported folder, which is loaded at the first batch and closed at the end; or
            a session, which stays open.
        column: Column of pictures or pixels. Pictures are files' bytes: binary of any kind, or
            Hugging Face's ``struct<bytes, path>``. Pixels are binary of a fixed width, or lists of
            equal or any lengths, flat or nested, of integers of 0 to 255, bools, or floats in
            [0, 1]; their shapes are those that `Session.predict` takes. Either may be
            dictionary-encoded. Default: the one column that fits; of several, the one with a usual
            name, such as ``image`` or ``pixels``.
        keep: Columns to repeat in the answer. Default: all but `column`.
        top_k: Classes to rank in ``top``. Default: three, or all where there are fewer.
        trust: Whether an artifact that runs code may be loaded.
        judge: Whether the first rows are judged as a whole, see above; False where they are not
            the first of their input.

    Yields:
        The kept columns, ``input_NAME`` if they are named as one of ours, then `ANSWER`'s:
        ``label`` and ``probability`` of the most probable class, ``top``, the `top_k` most
        probable ones, and ``error``, null where there is a label. See `answer_schema`.

    Raises:
        InputError: The column is missing, or of another type; or the input is refused as a whole.
        DeployError: The artifact cannot be loaded, or its engine failed.
    """
    stream = iter(batches)
    first = next(stream, None)
    if first is None:
        return
    stream = _alike(itertools.chain([first], stream), first.schema)
    column = find_column(first.schema, column)
    schema = answer_schema(first.schema, column, keep)
    names = [name for name in first.schema.names if name != column] if keep is None else keep
    if not isinstance(artifact, Session):
        with lenet_runtime.load(artifact, threads=1, trust=trust) as session:
            yield from predict_arrow(
                stream, session, column=column, keep=keep, top_k=top_k, judge=judge
            )
        return
    decoder = Decoder(artifact.manifest)
    if judge and not is_of_pictures(first.schema.field(column).type):
        stream = _judged(stream, column, decoder, artifact)
    for batch in stream:
        answers = _answers(artifact, decoder(batch.column(column)), len(batch), top_k)
        yield pa.RecordBatch.from_arrays(
            [*(batch.column(name) for name in names), *answers], schema=schema
        )


def answer_schema(schema: pa.Schema, column: str, keep: Sequence[str] | None = None) -> pa.Schema:
    """The schema of what `predict_arrow` yields, which is the same for all its other options.

    Args:
        schema: Schema of its batches.
        column: As of `predict_arrow`.
        keep: As of `predict_arrow`.

    Raises:
        InputError: A kept column is missing, or two columns would have one name.
    """
    names = [name for name in schema.names if name != column] if keep is None else keep
    fields = []
    for name in names:
        if name not in schema.names:
            raise InputError(f"keep: expected some of {', '.join(schema.names)}, found {name!r}")
        fields.append(schema.field(name).with_name(kept_name(name)))
    answer = pa.schema([*fields, *ANSWER])
    if len(set(answer.names)) < len(answer):
        raise InputError(f"keep: expected other names than found, {', '.join(answer.names)}")
    return answer


def kept_name(name: str, ours: pa.Schema = ANSWER) -> str:
    """What an answer calls a column of the input: ``input_label`` if it is named as one of ours."""
    return f"input_{name}" if name in ours.names else name


def _alike(stream: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in stream:
        if batch.schema != schema:
            raise InputError(f"expected batches of {schema}, found one of {batch.schema}")
        yield batch


def _judged(
    stream: Iterator[pa.RecordBatch], column: str, decoder: Decoder, session: Session
) -> Iterator[pa.RecordBatch]:
    """The same batches, of whose first rows it was asked what their pixels mean."""
    taken: list[pa.RecordBatch] = []
    while sum(map(len, taken)) < JUDGED and (batch := next(stream, None)) is not None:
        taken.append(batch)
    rows = pa.Table.from_batches(taken).select([column]).slice(0, JUDGED)
    first = decoder(rows.combine_chunks().column(0).chunk(0)) if len(rows) else Decoded()
    manifest = session.manifest
    for _, pixels in first.groups:
        to_pixels(pixels, manifest.preprocessing, manifest.image_shape)
    wrong = [error for error in first.errors.values() if not error.endswith(" null")]
    if wrong and not first.groups:
        advice = "; divide them by 255 if 255 is ink" if "floats" in wrong[0] else ""
        raise InputError(
            f"{column}: not one of the first {len(rows)} rows is right: {wrong[0]}{advice}"
        )
    return itertools.chain(taken, stream)


def _answers(session: Session, decoded: Decoded, rows: int, top_k: int | None) -> list[pa.Array]:
    """The columns of `ANSWER`."""
    answered = [
        (own[start : start + size], _predict(session, pixels[start : start + size], top_k))
        for own, pixels in decoded.groups
        for size in [session.manifest.batch_size or _IMAGES]
        for start in range(0, len(own), size)
    ]
    errors = pa.nulls(rows, pa.string())
    if decoded.errors:
        errors = pa.array([decoded.errors.get(row) for row in range(rows)], pa.string())
    if not answered:
        return [*(pa.nulls(rows, field.type) for field in list(ANSWER)[:-1]), errors]
    columns = _columns([prediction for _, prediction in answered])
    order = np.concatenate([own for own, _ in answered])
    if len(order) < rows or (np.diff(order) < 0).any():
        place = np.zeros(rows, np.int64)
        place[order] = np.arange(len(order))
        missing = np.ones(rows, np.bool_)
        missing[order] = False
        columns = [column.take(pa.array(place, mask=missing)) for column in columns]
    return [*columns, errors]


def _predict(session: Session, pixels: np.ndarray, top_k: int | None) -> Prediction:
    """The answers; black images fill the batch of an artifact whose batch size is fixed."""
    size = session.manifest.batch_size
    if size is None or len(pixels) == size:
        return session.predict_pixels(pixels, top_k)
    filled = np.zeros((size, *pixels.shape[1:]), pixels.dtype)
    filled[: len(pixels)] = pixels
    whole = session.predict_pixels(filled, top_k)
    rows = len(pixels)
    return Prediction(
        whole.labels[:rows], whole.probabilities[:rows], whole.top_k[:rows], whole.class_labels
    )


def _columns(predictions: Sequence[Prediction]) -> list[pa.Array]:
    """Labels, probabilities and rankings of images that were answered in several calls."""
    names = pa.array(predictions[0].class_labels, pa.string())
    top_k = np.concatenate([prediction.top_k for prediction in predictions])
    ranked = np.concatenate(
        [np.take_along_axis(p.probabilities, p.top_k, axis=1) for p in predictions]
    )
    rows, k = top_k.shape
    labels = names.take(pa.array(top_k.ravel()))
    top = pa.StructArray.from_arrays(
        [labels, pa.array(ranked.ravel())], fields=list(RANKED.value_type)
    )
    return [
        names.take(pa.array(top_k[:, 0].copy())),
        pa.array(ranked[:, 0].copy()),
        pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32) * np.int32(k), top),
    ]
