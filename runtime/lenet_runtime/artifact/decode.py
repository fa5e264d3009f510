"""Strict JSON for the manifest: what is not declared is refused, what is missing too.

`json.loads` alone keeps the last of two equal keys and accepts NaN, so a manifest could say one
thing to us and another to a reviewer. Everything here raises ValueError; the caller adds where.
"""

import dataclasses
import functools
import json
import math
import types
import typing
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")
# The metadata of a dataclass's field that a document may lack; it then has its default.
MAY_BE_ABSENT = {"may be absent": True}


def parse(text: bytes) -> Any:
    """Parse UTF-8 JSON; duplicate keys and NaN or Infinity raise ValueError."""
    try:
        return json.loads(
            text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def decode(kind: type[T], value: Any, where: str = "") -> T:
    """Build `kind`, a frozen dataclass tree, from parsed JSON; any mismatch raises ValueError."""
    return typing.cast(T, _decode(kind, value, where or kind.__name__))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        repeated = sorted(key for key, count in counts.items() if count > 1)
        raise ValueError(f"duplicate keys {repeated}")
    return document


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _decode(kind: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, value, where)
    if origin in (types.UnionType, typing.Union):
        return _decode_union(kind, value, where)
    if origin is tuple:
        (item,) = (arg for arg in typing.get_args(kind) if arg is not ...)
        items = _require(value, list, where)
        return tuple(_decode(item, v, f"{where}[{i}]") for i, v in enumerate(items))
    if origin in (dict, Mapping):
        item = typing.get_args(kind)[1]
        pairs = _require(value, dict, where)
        return {key: _decode(item, v, f"{where}[{key!r}]") for key, v in pairs.items()}
    return _require(value, kind, where)


# Reading them takes longer than decoding with them, and a report has one class ten times.
@functools.cache
def _fields(kind: Any) -> dict[str, Any]:
    """The type of each field of a dataclass."""
    return typing.get_type_hints(kind)


@functools.cache
def _optional(kind: Any) -> frozenset[str]:
    """The fields of a dataclass that may be absent."""
    every = dataclasses.fields(kind)
    return frozenset(field.name for field in every if field.metadata == MAY_BE_ABSENT)


def _decode_dataclass(kind: Any, value: Any, where: str) -> Any:
    document = _require(value, dict, where)
    hints = _fields(kind)
    # A default alone is no exception: a writer writes all, and the mean of a damaged
    # manifest must not become MNIST's.
    missing = sorted(set(hints) - set(document) - _optional(kind))
    unknown = sorted(set(document) - set(hints))
    if missing or unknown:
        raise ValueError(f"{where}: missing keys {missing}, unknown keys {unknown}")
    return kind(**{key: _decode(hints[key], v, f"{where}.{key}") for key, v in document.items()})


def _decode_union(kind: Any, value: Any, where: str) -> Any:
    """Of something or None, or of a number or a list of numbers."""
    kinds = typing.get_args(kind)
    if value is None and type(None) in kinds:
        return None
    lists = [arg for arg in kinds if typing.get_origin(arg) is tuple]
    others = [arg for arg in kinds if arg is not type(None) and arg not in lists]
    (chosen,) = lists if lists and (isinstance(value, list) or not others) else others
    return _decode(chosen, value, where)


def _require(value: Any, kind: Any, where: str) -> Any:
    if kind is float and type(value) is int and abs(value) < 2**53:
        value = float(value)  # JSON writes 1.0 and 1 alike
    if type(value) is not kind:
        raise ValueError(f"{where}: expected {kind.__name__}, found {type(value).__name__}")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{where}: expected a finite number, found {value}")
    return value
