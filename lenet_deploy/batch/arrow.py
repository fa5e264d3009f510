"""`predict_arrow`: record batches of pictures or pixels in, record batches of answers out."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import lenet_runtime
from lenet_runtime import Session
from lenet_runtime.errors import InputError
from lenet_runtime.images.prediction import Prediction, from_logits
from lenet_runtime.images.preprocess import normalise, to_pixels

RANKED = pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float32())]))
ANSWER = pa.schema(
    [("label", pa.string()), ("probability", pa.float32()), ("top", RANKED), ("error", pa.string())]
)


def predict_arrow(
    batches: Iterable[pa.RecordBatch],
    artifact: str | Path | Session,
    *,
    column: str,
    keep: Sequence[str] | None = None,
    top_k: int = 3,
    trust: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Classify the rows of record batches; each batch is answered by one of as many rows.

    A row that holds no digit (a damaged picture, too few pixels, null) is answered with an error
    and no label; the others go on.

    Args:
        batches: Record batches, of any number of rows, whose schemas are equal.
        artifact: An exported folder, which is loaded at the first batch and closed at the end; or
            a session, which stays open.
        column: Its column of pictures' files (binary) or of pixels (lists of 784 numbers of 0 to
            255, or binary of fixed width).
        keep: Columns to repeat in the answer. Default: all but `column`.
        top_k: Classes to rank in ``top``.
        trust: Whether an artifact that runs code may be loaded.

    Yields:
        The kept columns, then `ANSWER`'s: ``label`` and ``probability`` of the most probable class,
        ``top``, the `top_k` most probable ones, and ``error``, null where there is a label.

    Raises:
        InputError: The column is missing, or of another type.
        DeployError: The artifact cannot be loaded, or its engine failed.
    """
    if not isinstance(artifact, Session):
        with lenet_runtime.load(artifact, threads=1, trust=trust) as session:
            yield from predict_arrow(batches, session, column=column, keep=keep, top_k=top_k)
        return
    for batch in batches:
        if column not in batch.schema.names:
            raise InputError(
                f"expected a column {column!r}, found {', '.join(batch.schema.names) or 'none'}"
            )
        names = [n for n in batch.schema.names if n != column] if keep is None else keep
        pixels, errors = _pixels(batch.column(column), artifact)
        answers = _answers(artifact, pixels, errors, top_k)
        yield pa.RecordBatch.from_arrays(
            [*(batch.column(name) for name in names), *answers],
            schema=pa.schema([*(batch.schema.field(name) for name in names), *ANSWER]),
        )


def _pixels(values: pa.Array, session: Session) -> tuple[NDArray[np.uint8], list[str | None]]:
    """The pixels of the rows that hold some, ``(M, h, w)``, and each row's error or None."""
    manifest = session.manifest
    _, height, width = manifest.image_shape
    padding = 2 * manifest.preprocessing.padding
    shape = height - padding, width - padding
    if pa.types.is_fixed_size_list(values.type) and not values.null_count:
        flat = values.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(-1, *shape), [None] * len(values)
    if not (pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type)):
        raise InputError(f"expected pictures or pixels, found a column of {values.type}")
    images: list[NDArray[Any]] = []
    errors: list[str | None] = []
    for value in values:
        try:
            own, _ = to_pixels([value.as_py() or b""], manifest.preprocessing, manifest.image_shape)
        except InputError as error:
            errors.append(str(error).removeprefix("images[0]: "))
        else:
            errors.append(None)
            images.append(own)
    if not images:
        return np.empty((0, *shape), np.uint8), errors
    return np.concatenate(images), errors


def _answers(
    session: Session, pixels: NDArray[np.uint8], errors: list[str | None], top_k: int
) -> list[pa.Array]:
    """The columns of `ANSWER`, one row for each of `errors`."""
    manifest = session.manifest
    logits = session.run(normalise(pixels, manifest.preprocessing, manifest.image_shape))
    prediction = from_logits(logits, manifest.labels, top_k, output=manifest.output)
    columns = _columns(prediction)
    if any(errors):
        good = np.array([error is None for error in errors])
        rows = pa.array(np.where(good, np.cumsum(good) - 1, 0), mask=~good)
        columns = [column.take(rows) for column in columns]
    return [*columns, pa.array(errors, pa.string())]


def _columns(prediction: Prediction) -> list[pa.Array]:
    names = pa.array(prediction.class_labels, pa.string())
    rows, k = prediction.top_k.shape
    ranked = np.take_along_axis(prediction.probabilities, prediction.top_k, axis=1)
    top = pa.StructArray.from_arrays(
        [names.take(pa.array(prediction.top_k.ravel())), pa.array(ranked.ravel())],
        fields=list(RANKED.value_type),
    )
    return [
        names.take(pa.array(prediction.labels)),
        pa.array(np.ascontiguousarray(ranked[:, 0])),
        pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32) * np.int32(k), top),
    ]
