"""The pixels of a column's rows, whatever the column's type."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lenet_deploy.batch.columns import is_binary, is_list
from lenet_runtime.artifact import Manifest
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import to_pixels

Shape = tuple[int, ...]
Mask = NDArray[np.bool_]


@dataclass(eq=False)
class Decoded:
    """The pixels of a column's rows.

    Attributes:
        groups: Rows, int64 ``(M,)``, and their pixels, as `to_pixels` returns them; a group for
            each shape of images that the column holds, mostly one.
        errors: Why a row has no pixels, by its place.
    """

    groups: list[tuple[NDArray[np.int64], NDArray[Any]]] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)


class Decoder:
    """Takes the pixels out of columns, for one artifact.

    Args:
        manifest: What the artifact is.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._preprocessing, self._image_shape = manifest.preprocessing, manifest.image_shape
        channels, height, width = manifest.image_shape
        padding = 2 * manifest.preprocessing.padding
        shapes: list[Shape] = [(height - padding, width - padding), (height, width)]
        if channels == 3:
            shapes += [(*shape, 3) for shape in shapes]
        self._shapes = {math.prod(shape): shape for shape in reversed(shapes)}

    def __call__(self, values: pa.Array) -> Decoded:
        """The pixels of each row, or its error.

        Raises:
            InputError: No row of a column of this type can be pixels of this network.
        """
        if isinstance(values, pa.ExtensionArray):
            return self(values.storage)
        if pa.types.is_dictionary(values.type):
            return self(values.dictionary.take(values.indices))
        if pa.types.is_struct(values.type) and values.type.get_field_index("bytes") >= 0:
            decoded = self(pc.struct_field(values, "bytes"))
            _say_why(decoded, values)
            return decoded
        if is_binary(values.type):
            return self._pictures(values)
        if pa.types.is_fixed_size_binary(values.type):
            values = _as_lists(values)
        if is_list(values.type):
            return self._pixels(values)
        raise InputError(f"expected pictures or pixels, found a column of {values.type}")

    def _pictures(self, values: pa.Array) -> Decoded:
        decoded, rows, images = Decoded(), [], []
        for row, value in enumerate(values):
            data = value.as_py()
            try:
                if data is None:
                    raise InputError("expected a picture, found null")
                image, _ = to_pixels([data], self._preprocessing, self._image_shape)
            except InputError as error:
                decoded.errors[row] = str(error).removeprefix("images[0]: ")
            else:
                rows.append(row)
                images.append(image)
        if rows:
            decoded.groups.append((np.array(rows, np.int64), np.concatenate(images)))
        return decoded

    def _pixels(self, values: pa.Array) -> Decoded:
        decoded = Decoded()
        rows = np.arange(len(values))
        if values.null_count:
            valid = values.is_valid().to_numpy(zero_copy_only=False)
            decoded.errors |= dict.fromkeys(rows[~valid].tolist(), "expected pixels, found null")
            rows, values = rows[valid], values.drop_null()
        for shape in self._shapes.values():
            if len(rows) and values.type in (_bytes_of(math.prod(shape)), _bytes_of(*shape)):
                flat = values
                while is_list(flat.type):
                    flat = flat.flatten()
                if len(flat) == len(rows) * math.prod(shape) and not flat.null_count:
                    decoded.groups.append((rows, flat.to_numpy().reshape(-1, *shape)))
                    return decoded  # whose numbers need no look
        lists = _flatten(values, self._shapes)
        lengths = np.diff(lists.starts)
        for length, shape in self._shapes.items():
            chosen = (lengths == length) & ~lists.uneven
            if chosen.any():
                _group(decoded, rows, lists, chosen, shape)
        for place in np.flatnonzero(lists.uneven | ~np.isin(lengths, list(self._shapes))):
            decoded.errors[int(rows[place])] = self._wrong_length(int(lengths[place]))
        return decoded

    def _wrong_length(self, length: int) -> str:
        if length in self._shapes:  # in rows of other lengths
            wanted = " or ".join("x".join(map(str, shape)) for shape in self._shapes.values())
            return f"expected pixels {wanted}, found {length} in another shape"
        return f"expected {' or '.join(map(str, self._shapes))} pixels, found {length}"


def _say_why(decoded: Decoded, values: pa.Array) -> None:
    """Errors of structs without bytes: what their field ``error`` says, or where only a path is."""
    for row in decoded.errors:
        value = values[row].as_py() or {}
        if value.get("bytes") is None and value.get("error"):
            decoded.errors[row] = value["error"]
        elif value.get("bytes") is None and value.get("path"):
            decoded.errors[row] = (
                f"expected a picture's bytes, found the path {value['path']!r} alone"
            )


def _bytes_of(*shape: int) -> pa.DataType:
    """The type of lists of bytes that all have this shape."""
    kind = pa.uint8()
    for size in reversed(shape):
        kind = pa.list_(kind, size)
    return kind


@dataclass(eq=False)
class _Lists:
    """Lists, or lists of lists, as one array.

    Attributes:
        flat: All numbers.
        starts: Where those of each row begin, and where the last end.
        uneven: Rows whose inner lists have other lengths than images.
    """

    flat: pa.Array
    starts: NDArray[np.int64]
    uneven: Mask


def _flatten(values: pa.Array, shapes: Mapping[int, Shape]) -> _Lists:
    """What is in lists, of which none is null but perhaps inner ones."""
    rows, levels = len(values), []
    while is_list(values.type):
        if pa.types.is_fixed_size_list(values.type) and not values.null_count:
            lengths = np.full(len(values), values.type.list_size)
        else:
            own = pc.fill_null(pc.list_value_length(values), 0)
            lengths = own.to_numpy(zero_copy_only=False).astype(np.int64)
        levels.append(lengths)
        values = values.flatten()
    starts = np.arange(rows + 1)
    for lengths in levels:
        starts = np.append(0, np.cumsum(lengths))[starts]
    uneven = np.full(rows, len(levels) > 1)
    for shape in shapes.values():
        if len(levels) == len(shape):
            uneven &= _other_shape(levels, shape)
    return _Lists(values, starts, uneven)


def _other_shape(levels: list[NDArray[np.int64]], shape: Shape) -> Mask:
    """Which rows of nested lists have another shape; `levels` are the lengths of all lists."""
    other = levels[-1] != shape[-1]
    for lengths, size in zip(levels[-2::-1], shape[-2::-1], strict=True):
        ends = np.cumsum(lengths)
        count = np.append(0, np.cumsum(other))
        other = (lengths != size) | (count[ends] != count[ends - lengths])
    return cast(Mask, other)


def _group(
    decoded: Decoded, rows: NDArray[np.int64], lists: _Lists, chosen: Mask, shape: Shape
) -> None:
    """Add the chosen rows, which have pixels of this shape, or their errors."""
    flat, starts = lists.flat, lists.starts
    if chosen.all():
        pixels = flat.slice(starts[0], starts[-1] - starts[0])
    else:
        places = starts[:-1][chosen][:, None] + np.arange(math.prod(shape))
        rows, pixels = rows[chosen], flat.take(pa.array(places.ravel()))
    images, bad = _numbers(pixels, (len(rows), *shape))
    scale = "floats in [0, 1]" if images.dtype.kind == "f" else "pixels of 0 to 255"
    if bad is not None:
        good = ~bad.any(axis=1)
        for place in np.flatnonzero(~good):
            value = pixels[int(place * bad.shape[1] + np.argmax(bad[place]))].as_py()
            found = "a pixel that is null" if value is None else value
            decoded.errors[int(rows[place])] = f"expected {scale}, found {found}"
        rows, images = rows[good], images[good]
    if len(rows):
        images = images if images.dtype.kind == "f" else images.astype(np.uint8, copy=False)
        decoded.groups.append((rows, images))


def _numbers(flat: pa.Array, shape: Shape) -> tuple[NDArray[Any], Mask | None]:
    """The numbers of whole images, and which are no pixels, ``(N, pixels)``; None if all are."""
    nulls = flat.null_count
    numbers = (flat.fill_null(0) if nulls else flat).to_numpy(zero_copy_only=False)
    if numbers.dtype == np.bool_:
        numbers = numbers.view(np.uint8) * np.uint8(255)
    bad: Mask | None = None
    if numbers.dtype != np.uint8:
        high = 1 if numbers.dtype.kind == "f" else 255
        right = (numbers >= 0) & (numbers <= high)  # also where a number is NaN
        bad = None if right.all() else ~right
    if nulls:
        missing = flat.is_null().to_numpy(zero_copy_only=False)
        bad = missing if bad is None else bad | missing
    images = numbers.reshape(shape)
    return images, None if bad is None else bad.reshape(len(images), -1)


def _as_lists(values: pa.Array) -> pa.Array:
    """Binary values of one width as lists of bytes, in the same memory."""
    width = values.type.byte_width
    data = pa.Array.from_buffers(
        pa.uint8(), (values.offset + len(values)) * width, [None, values.buffers()[1]]
    )
    return pa.Array.from_buffers(
        pa.list_(pa.uint8(), width), len(values), [values.buffers()[0]], -1, values.offset, [data]
    )
