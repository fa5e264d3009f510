"""Assembling ``lenet.c`` and ``lenet.h`` from the C files of ``c/`` and from generated C.

``c/PRECISION.c`` is the outline of a precision's ``lenet.c``. It includes further files of ``c/``
and generated parts, all of which take the place of their ``#include``, so that one file results;
a part that is empty leaves nothing. A few words in capitals, such as ``ATTRIBUTE`` and ``ISA``,
stand for what C's preprocessor cannot say or what depends on the instruction set.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_export.formats.native.isa import NONE, Level
from lenet_export.formats.native.pack import CHUNK
from lenet_export.request import Request
from lenet_runtime import __version__
from lenet_runtime.errors import InputError

PREFIX = "lenet"
_PREFIX = re.compile("[A-Za-z][A-Za-z0-9_]{,31}")
# They begin other names here: those of kernels, and of Python.
_TAKEN = ("base", "bf16", "none", "py", "pyinit", "v3", "v4", "v4h", "vnni")
_INCLUDE = re.compile(r'^#include "(?!lenet\.h)(.+)"\n', re.MULTILINE)


@dataclass(frozen=True)
class Program:
    """A network's C, not yet assembled.

    Attributes:
        precision: the name of the outline, ``c/PRECISION.c``.
        levels: the kernels, best first; the last runs on every CPU.
        parts: generated C text by the name that the outline includes.
        work: the C type of the workspace's elements.
        work_bytes: the size of the workspace in bytes.
        logits: the number of classes.
        dense: the number of dense layers.
        not_finite: a sentence for the header, which logits NaN and infinities give.
    """

    precision: str
    levels: tuple[Level, ...]
    parts: Mapping[str, str]
    work: str
    work_bytes: int
    logits: int
    dense: int
    not_finite: str


def sources(program: Program, request: Request) -> dict[str, str]:
    """``lenet.c`` and ``lenet.h`` by name.

    Raises:
        InputError: the option ``prefix`` cannot begin a name in C.
    """
    *chosen, last = program.levels
    pixels = request.preprocessing
    if isinstance(pixels.mean, tuple) or isinstance(pixels.std, tuple):
        raise InputError(f"native: expected one mean and one std, found {pixels}")
    words = {
        "VERSION": __version__,
        "WEIGHTS": request.weights_sha256,
        "MEAN": _decimal(pixels.mean),
        "STD": _decimal(pixels.std),
        "PADDING": str(pixels.padding),
        "LABELS": ", ".join(map(_comment, request.labels)),
        "CLASSES": str(program.logits),
        "CHUNK": str(CHUNK),
        "TITLES": ", ".join(f'"{level.title}"' for level in program.levels),
        "BEHAVIOUR": program.not_finite,
        "LEVELS": ", ".join(level.name.upper() for level in program.levels),
        "LAST": last.name.upper(),
        "FALLBACK": last.name,
        "WORK": program.work,
        "BYTES": str(program.work_bytes + 64),
    }
    choices, cases = [], []
    for level in chosen:
        name = level.name.upper()
        choices.append(f"    if ({level.supported})\n        return {name};\n")
        call = f"{level.name}_chunk(images, logits, n, work)"
        cases.append(f"    case {name}:\n        return {call};\n")
    parts = {
        "choices.c": _x86("    __builtin_cpu_init();\n", *choices) if chosen else "",
        "cases.c": _x86(*cases) if chosen else "",
        "refusal.c": text("none_refusal.c") if last is NONE else "",
    }
    return {
        "lenet.c": _named(
            text(f"{program.precision}.c", words, parts | dict(program.parts)), request
        ),
        "lenet.h": _named(text("lenet.h", words), request),
    }


def python_module(request: Request) -> dict[str, str]:
    """``python_module.c``, the library's Python entry, by name; whose own name has no prefix."""
    return {"python_module.c": _named(text("python_module.c"), request)}


def _named(source: str, request: Request) -> str:
    """C text whose names begin with the option ``prefix`` in place of ``lenet``."""
    prefix = request.options.get("prefix", PREFIX)
    if not _PREFIX.fullmatch(prefix) or prefix.lower() in _TAKEN:
        raise InputError(
            "prefix: expected letters, digits and underscores, a letter first, 32 at most, and "
            f"none of {', '.join(_TAKEN)}, found {prefix[:100]!r}"
        )
    source = re.sub(r"\blenet_(?!native\b|runtime\b)", f"{prefix}_", source)
    return re.sub(r"\bLENET_", f"{prefix.upper()}_", source)


def _decimal(value: float) -> str:
    """The fewest digits that are `value` in float32."""
    return f"{np.float32(value)}f"


def _comment(label: str) -> str:
    """A label as it may stand in a comment of C in ASCII."""
    return json.dumps(label).replace("/", "\\/").replace("?", "\\?")


def text(
    name: str, words: Mapping[str, str] | None = None, parts: Mapping[str, str] | None = None
) -> str:
    """A file of ``c/``, with `words` replaced and its includes, of ``c/`` or `parts`, in place."""
    source = (files("lenet_export.formats.native") / "c" / name).read_text(encoding="utf-8")
    words, parts = words or {}, parts or {}
    if words:  # also as the first part of a name: ISA_chunk
        names = "|".join(words)
        source = re.sub(rf"(?<!\w)({names})(?![^\W_])", lambda word: words[word[1]], source)
    return _INCLUDE.sub(
        lambda line: parts[line[1]] if line[1] in parts else text(line[1], words, parts), source
    )


def section(level: Level, *parts: str) -> str:
    """The kernels of one instruction set, hidden from compilers that do not know it."""
    title = f"/* ---- {level.title}: {level.comment} ---- */\n"
    return title + (_x86(*parts) + "\n" if level.features else "".join(parts))


def _x86(*parts: str) -> str:
    """C text for the compilers that have the intrinsics."""
    return "".join(["#if defined(__x86_64__) && defined(__GNUC__)\n", *parts, "#endif\n"])


def array(name: str, values: NDArray[Any], kind: str = "") -> str:
    """A C array of the exact values: float32 in hexadecimal, or integers.

    Args:
        name: the array's name.
        values: float32 or integers, in the array's shape.
        kind: the C type of an element; by default the one of NumPy's type.
    """
    shape = "".join(f"[{size}]" for size in values.shape)
    kind = kind or ("float" if values.dtype == np.float32 else f"{values.dtype.name}_t")
    return f"LENET_ALIGNED static const {kind} {name}{shape} = {_initializer(values)};\n"


def _initializer(values: NDArray[Any]) -> str:
    if values.ndim > 1:
        return "{" + ",\n".join(_initializer(row) for row in values) + "}"
    if values.dtype == np.float32:
        width, texts = 8, [literal(value) for value in values]
    else:
        width, texts = 16, [str(value) for value in values.tolist()]
    lines = [", ".join(texts[i : i + width]) for i in range(0, len(texts), width)]
    return "{" + ",\n ".join(lines) + "}"


def literal(value: np.float32) -> str:
    """The exact value, in hexadecimal."""
    if value == 0 and not np.signbit(value):
        return "0"
    mantissa, _, exponent = float(value).hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{int(exponent)}f"
