"""Strict protobuf: the messages and fields that a table declares; everything else is refused.

Protobuf's own readers keep fields that they do not know, merge a message that stands twice, and
take the last of two values, so a file could say one thing to us and another to the engine that
reads it next. What a reader does is bounded by its table: each field has a greatest count, and no
message contains itself. Everything here raises ValueError; the caller adds where.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_FLOAT = struct.Struct("<f")


class Malformed(ValueError):
    """Bytes that are no protobuf, whatever the message."""


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        name: The field's name.
        kind: int for 64 bits with a sign, a frozenset for the numbers of an enumeration, float for
            32 bits, str for UTF-8, memoryview for bytes, which stay where they are, or a `Message`.
        most: How often the field may be there: 1 makes its value one, more a list, and 0 declares
            a field that is refused by its name.
        needed: Whether a message without the field is refused.
    """

    name: str
    kind: Any
    most: int = 1
    needed: bool = False


@dataclass(frozen=True, eq=False)
class Message:
    """A message's name and its fields by number."""

    name: str
    fields: Mapping[int, Field]
    by_tag: Mapping[int, Field] = field(init=False, repr=False)
    needed: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        tags = {n << 3 | _wire_type(own.kind): own for n, own in self.fields.items()}
        object.__setattr__(self, "by_tag", tags)
        needed = frozenset(own.name for own in self.fields.values() if own.needed)
        object.__setattr__(self, "needed", needed)


def _wire_type(kind: Any) -> int:
    if kind is int or isinstance(kind, frozenset):
        return 0
    return 5 if kind is float else 2  # 2: bytes behind their length


def parse(message: Message, data: bytes) -> dict[str, Any]:
    """The values of a message by their fields' names; what is absent is not among them.

    Raises:
        Malformed: `data` is not protobuf.
        ValueError: A field is unknown, of another type, missing, or there too often.
    """
    try:
        return _message(message, memoryview(data), 0, len(data))
    except (IndexError, struct.error) as error:
        raise Malformed(f"{message.name}: it ends within a value") from error


def _message(message: Message, data: memoryview, at: int, end: int) -> dict[str, Any]:
    """The message in ``data[at:end]``."""
    values: dict[str, Any] = {}
    while at < end:
        tag, at = _varint(data, at)
        own = message.by_tag.get(tag)
        if own is None:
            raise _unknown(message, tag)
        value, at = _value(message, own, data, at, end)
        name, _, most, _ = own
        if most > 1:
            values.setdefault(name, []).append(value)
            more = len(values[name]) > most
        else:
            more = name in values or not most
            values[name] = value
        if more:
            expected = f"at most {most}, found more" if most else "none"
            raise ValueError(f"{message.name}: {name}: expected {expected}")
    if at != end:
        raise Malformed(f"{message.name}: its last field is longer than the message")
    if not message.needed <= values.keys():
        raise ValueError(f"{message.name}: it lacks {sorted(message.needed - values.keys())}")
    return values


def _value(message: Message, own: Field, data: memoryview, at: int, end: int) -> tuple[Any, int]:
    """The value of a field at `at`, and where the next one begins."""
    kind = own.kind
    if kind is float:
        return _FLOAT.unpack_from(data, at)[0], at + 4
    number, at = _varint(data, at)
    if kind is int:
        return number - (number >> 63 << 64), at
    if isinstance(kind, frozenset):
        if number not in kind:
            raise ValueError(f"{message.name}: {own.name}: expected {sorted(kind)}, found {number}")
        return number, at
    start, at = at, at + number
    if at > end:
        raise Malformed(f"{message.name}: {own.name} is longer than the message")
    if kind is str:
        try:
            return str(data[start:at], "utf-8"), at
        except UnicodeDecodeError as error:
            raise Malformed(f"{message.name}: {own.name} is not UTF-8") from error
    return (data[start:at] if kind is memoryview else _message(kind, data, start, at)), at


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number at `at`, at most 64 bits in as few bytes as it takes, and where it ends."""
    byte = data[at]
    at += 1
    if byte < 128:
        return byte, at
    number, shift = byte & 127, 7
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
        if shift == 70:
            raise Malformed("a number of more than 64 bits")
    if not byte or number >= 2**64:
        raise Malformed("a number in more bytes than it takes, or of more than 64 bits")
    return number, at


def _unknown(message: Message, tag: int) -> ValueError:
    number, wire_type = tag >> 3, tag & 7
    if not number or wire_type > 5:
        return Malformed(f"{message.name}: no field has the tag {tag}")
    if number in message.fields:
        name = message.fields[number].name
        return ValueError(f"{message.name}: {name}: it has the wire type {wire_type}")
    return ValueError(f"{message.name}: unknown field {number}")
