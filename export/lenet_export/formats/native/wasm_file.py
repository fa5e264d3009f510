"""One ``lenet.wasm`` of several modules: the plain one, which any engine runs, carries the others.

Modules of the same C differ in their code alone. So the plain module holds the data and the memory,
and those that need SIMD lie in custom sections of its file, named after what they need. They import
the memory and have no data of their own. What a linker writes as zeros is left out of the data,
too: a new memory is zero.

The binary format: https://webassembly.github.io/spec/core/binary/modules.html
"""

import re
from collections.abc import Iterator, Mapping

from lenet_runtime.errors import DeployError

_HEADER = b"\0asm\x01\0\0\0"
_CUSTOM, _DATA, _DATA_COUNT = 0, 11, 12
_I32_CONST, _END = 0x41, 0x0B
# A segment of its own costs some nine bytes.
_ZEROS = re.compile(rb"\0{16,}")


def bundle(plain: bytes, others: Mapping[str, bytes]) -> bytes:
    """The plain module with `others`, by name, in custom sections.

    Raises:
        DeployError: these are no modules of the same data, which is a fault of this toolkit or of
            the compiler.
    """
    sections = list(_sections(plain))
    data = dict(sections)[_DATA]
    file = _HEADER
    for kind, content in sections:
        if kind != _DATA_COUNT:  # for instructions that no compiler is asked for here
            file += _section(kind, _sparse(content) if kind == _DATA else content)
    for name, module in others.items():
        parts = list(_sections(module))
        if dict(parts).get(_DATA) != data:
            raise DeployError(f"wasm: the module {name!r} has other data than the plain one")
        code = [part for part in parts if part[0] not in (_DATA, _DATA_COUNT)]
        code_alone = _HEADER + b"".join(_section(*part) for part in code)
        file += _section(_CUSTOM, _leb(len(name)) + name.encode() + code_alone)
    return file


def _sections(module: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind and the content of each section."""
    if module[:8] != _HEADER:
        raise DeployError("wasm: the linker made no WebAssembly module")
    at = 8
    while at < len(module):
        size, start = _read(module, at + 1)
        yield module[at], module[start : start + size]
        at = start + size


def _section(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + _leb(len(content)) + content


def _sparse(data: bytes) -> bytes:
    """A data section without its longer runs of zeros."""
    count, at = _read(data, 0)
    segments = []
    for _ in range(count):
        if data[at] != 0 or data[at + 1] != _I32_CONST:
            raise DeployError("wasm: expected data at fixed addresses of the one memory")
        address, at = _read(data, at + 2, signed=True)
        size, at = _read(data, at + 1)
        content, at, begin = data[at : at + size], at + size, 0
        for zeros in [*_ZEROS.finditer(content), None]:
            end = zeros.start() if zeros else len(content)
            if end > begin:
                segments.append((address + begin, content[begin:end]))
            begin = zeros.end() if zeros else end
    body = b"".join(
        b"\0" + bytes([_I32_CONST]) + _signed_leb(address) + bytes([_END]) + _leb(len(content))
        + content
        for address, content in segments
    )  # fmt: skip
    return _leb(len(segments)) + body


def _read(data: bytes, at: int, signed: bool = False) -> tuple[int, int]:
    """A LEB128 number, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value - ((1 << shift) if signed and byte & 64 else 0), at


def _leb(value: int) -> bytes:
    """A number from 0 on in LEB128."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _signed_leb(value: int) -> bytes:
    """A number from 0 on in signed LEB128, whose last byte has room for the sign."""
    unsigned = _leb(value)
    return unsigned if unsigned[-1] < 64 else bytes([*unsigned[:-1], unsigned[-1] | 128, 0])
