"""Which shared libraries a provider of ONNX Runtime lacks on this machine.

ONNX Runtime loads a provider's library when a session asks for it, and where that fails it goes on
with the CPU. Loading the provider ourselves to find out would break it: its static initialisers
take ONNX Runtime's side of the interface, which is there only once ONNX Runtime loads it. So its
dependencies are read from the file and loaded one by one, which `onnxruntime.preload_dlls` does,
too, but tells on stdout what it does not find.
"""

import ctypes
import importlib.util
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

# Loaded by `lenet_runtime.cuda`, which knows what to say about the driver.
_DRIVER = "libcuda.so.1"
# Packages on PyPI whose folders the dynamic linker does not search.
_PACKAGES = (("nvidia", "*/lib"), ("tensorrt_libs", "."))
_LOAD, _DYNAMIC = 1, 2  # PT_LOAD, PT_DYNAMIC of elf.h
_NEEDED, _STRTAB = 1, 5  # DT_NEEDED, DT_STRTAB


def missing(libraries: Iterable[Path], more: Iterable[str] = ()) -> list[str]:
    """What `libraries` need and the dynamic linker cannot load, as it names it; empty is good.

    What can be loaded stays loaded, so that a provider which comes later finds it.

    Args:
        libraries: ELF files.
        more: names of libraries that they load later, when they run.
    """
    names = [name for library in libraries for name in needed(library)] + list(more)
    lacking = []
    for name in dict.fromkeys(names):
        if name == _DRIVER:
            continue
        try:
            load(name)
        except OSError as error:
            found = re.match(r"(\S+): cannot open shared object file", str(error))
            lacking.append(found[1] if found else str(error))
    return list(dict.fromkeys(lacking))


def load(name: str) -> ctypes.CDLL:
    """Load a library from a package of NVIDIA's, or else from where the linker searches.

    Raises:
        OSError: it is nowhere, or something that it needs is nowhere.
    """
    return ctypes.CDLL(str(next(installed(name), name)))


def installed(pattern: str) -> Iterator[Path]:
    """Files of this name in NVIDIA's packages."""
    for package, folders in _PACKAGES:
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations if spec else None) or ():
            yield from sorted(Path(place).glob(f"{folders}/{pattern}"))


def needed(library: Path) -> list[str]:
    """The libraries that a 64-bit ELF file says it needs.

    Raises:
        OSError: the file cannot be read, or is not such a file.
    """
    with library.open("rb") as file:
        if file.read(6) != b"\x7fELF\x02\x01":
            raise OSError(f"{library}: expected a 64-bit little-endian ELF library")
        try:
            return _needed(file)
        except (StopIteration, ValueError, struct.error) as error:
            raise OSError(f"{library}: a damaged ELF library ({error!r})") from error


def _needed(file: BinaryIO) -> list[str]:
    segments = list(_segments(file))
    dynamic = next(s for s in segments if s[0] == _DYNAMIC)
    file.seek(dynamic[1])
    tags = list(struct.iter_unpack("<qQ", file.read(dynamic[3] // 16 * 16)))
    address = next(value for tag, value in tags if tag == _STRTAB)
    _, offset, start, _ = next(
        s for s in segments if s[0] == _LOAD and s[2] <= address < s[2] + s[3]
    )
    return [_string(file, offset + address - start + value) for t, value in tags if t == _NEEDED]


def _segments(file: BinaryIO) -> Iterator[tuple[int, int, int, int]]:
    """Kind, offset in the file, address and size in the file of each segment."""
    file.seek(32)
    (table,) = struct.unpack("<Q", file.read(8))
    file.seek(54)
    size, number = struct.unpack("<HH", file.read(4))
    for index in range(number):
        file.seek(table + index * size)
        kind, _, offset, address, _, length = struct.unpack("<IIQQQQ", file.read(40))
        yield kind, offset, address, length


def _string(file: BinaryIO, offset: int) -> str:
    file.seek(offset)
    text, end, _ = file.read(256).partition(b"\0")
    if not end:
        raise ValueError("a name without an end")
    return text.decode("ascii")
