"""Which column of a schema holds pictures or pixels."""

import pyarrow as pa
from pyarrow import types

from lenet_runtime.errors import InputError, expected_one_of

_USUAL = ("pixels", "picture", "image", "img", "digit")  # names of columns, of several that fit


def find_column(schema: pa.Schema, column: str | None, where: str = "") -> str:
    """The column of pictures or pixels: `column` if the schema has it, else the one that fits.

    Args:
        schema: The columns.
        column: Name that the user gave, or None.
        where: What an error begins with, such as ``digits.parquet: ``.

    Raises:
        InputError: It is missing or of another type; or none fits, or several do.
    """
    found = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    fitting = [field.name for field in schema if is_fitting(field.type)]
    if column is not None:
        if column not in schema.names:
            raise InputError(f"{where}{expected_one_of(schema.names, column)}")
        if column not in fitting:
            raise InputError(
                f"{where}expected pictures (binary) or pixels (lists of numbers), found a column "
                f"{column!r} of {schema.field(column).type}"
            )
        return column
    usual = [name for name in fitting if name.lower() in _USUAL]
    if len(names := usual if len(usual) == 1 else fitting) == 1:
        return str(names[0])
    if names:
        raise InputError(
            f"{where}expected one column of pictures or pixels, found {', '.join(names)}; pass "
            f"column={names[0]!r} for the first"
        )
    raise InputError(
        f"{where}expected a column of pictures (binary) or pixels (lists of numbers), found {found}"
    )


def is_binary(kind: pa.DataType) -> bool:
    """Whether its values are bytes of any length: the files of pictures."""
    kinds = (types.is_binary, types.is_large_binary, types.is_binary_view)
    return any(is_kind(kind) for is_kind in kinds)


def is_list(kind: pa.DataType) -> bool:
    """Whether its values are lists, of equal lengths or not."""
    kinds = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(is_kind(kind) for is_kind in kinds)


def is_fitting(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold pictures or pixels."""
    kind = _plain(kind)
    if is_list(kind):
        while is_list(kind):
            kind = kind.value_type
        return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))
    return is_binary(kind) or bool(types.is_fixed_size_binary(kind))


def is_of_pictures(kind: pa.DataType) -> bool:
    """Whether a column of this type holds the files of pictures."""
    return is_binary(_plain(kind))


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values, out of an extension, a dictionary or Hugging Face's struct."""
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return _plain(kind.field("bytes").type)
    return kind
