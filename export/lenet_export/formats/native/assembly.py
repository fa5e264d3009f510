"""Assembling ``lenet.c`` and ``lenet.h`` from the C files of ``c/`` and from generated C.

``c/OUTLINE.c`` is the outline of a ``lenet.c``. It includes further files of ``c/``
and generated parts, all of which take the place of their ``#include``, so that one file results;
a part that is empty leaves nothing. A few words in capitals, such as ``ATTRIBUTE`` and ``ISA``,
stand for what C's preprocessor cannot say or what depends on the instruction set.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_export.formats.native.isa import NONE, Level
from lenet_export.formats.native.pack import CHUNK
from lenet_export.network.layers import Network
from lenet_export.request import Request
from lenet_runtime import __version__
from lenet_runtime.errors import InputError

PREFIX = "lenet"
# By what the network answers: the word for it, and what it says.
_ANSWERS = {
    "logits": ("Logits", "The largest logit is the answer; softmax makes probabilities of them."),
    "log_probabilities": (
        "Logarithms of probabilities",
        "The largest is the answer; exp makes probabilities of them. Below, logits are these.",
    ),
    "probabilities": (
        "Probabilities", "The largest is the answer. Below, logits are these.",
    ),
}  # fmt: skip
# Words and parts for an image whose pixels are whole registers of 16, and words for any other.
ALL_PIXELS = {"WHOLE": "LENET_PIXELS"}
WHOLE_REGISTERS = {"v4_tail.c": "", "v3_tail.c": ""}
SOME_PIXELS = {"WHOLE": "LENET_PIXELS / 16 * 16"}
_PREFIX = re.compile("[A-Za-z][A-Za-z0-9_]{,31}")
# They begin other names here: those of kernels, and of Python.
_TAKEN = (
    *("avx2", "avxvnni", "base", "bf16", "neon", "neondot", "none", "py", "pyinit", "v3", "v4"),
    *("vnni", "wasm"),
)
_INCLUDE = re.compile(r'^#include "(?!lenet\.[ch]")(.+)"\n', re.MULTILINE)


@dataclass(frozen=True)
class Program:
    """A network's C, not yet assembled.

    Attributes:
        precision: of the arithmetic.
        outline: the name of the outline, ``c/OUTLINE.c``.
        levels: the kernels, best first; the last runs on every CPU.
        parts: generated C text by the name that the outline includes.
        work: the C type of the workspace's elements.
        work_bytes: the size of the workspace in bytes.
        network: the network that it computes.
        not_finite: a sentence for the header, which logits NaN and infinities give.
    """

    precision: str
    outline: str
    levels: tuple[Level, ...]
    parts: Mapping[str, str]
    work: str
    work_bytes: int
    network: Network
    not_finite: str


def sources(program: Program, request: Request) -> dict[str, str]:
    """``lenet.c`` and ``lenet.h`` by name.

    Raises:
        InputError: the option ``prefix`` cannot begin a name in C.
    """
    *better, last = program.levels
    chosen = {
        each.machine: [own for own in better if own.machine == each.machine] for each in better
    }
    pixels, network = request.preprocessing, program.network
    channels, height, width = network.input_shape
    answers = _ANSWERS[network.output]
    words = {
        "VERSION": __version__,
        "WEIGHTS": request.weights_sha256,
        "MEAN": decimal(pixels.mean),
        "STD": decimal(pixels.std),
        "PADDING": str(pixels.padding),
        "LABELS": ", ".join(map(comment, request.labels)),
        "CLASSES": str(network.classes),
        "PLANES": str(channels),
        "TALL": str(height),
        "BROAD": str(width),
        "PIXELS": str(channels * height * width),
        "SHAPE": f"{channels}, {height}, {width}",
        "SIDES": f"{f'{channels} planes of ' * (channels > 1)}{height} rows of {width}",
        "ANSWERS": answers[0],
        "MEANING": answers[1],
        "CHUNK": str(CHUNK),
        "TITLES": ", ".join(f'"{level.title}"' for level in program.levels),
        "BEHAVIOUR": program.not_finite,
        "LEVELS": ", ".join(level.name.upper() for level in program.levels),
        "LAST": last.name.upper(),
        "FALLBACK": last.name,
        "WORK": program.work,
        "BYTES": str(program.work_bytes + 64),
    }
    layout = "grey_layout.h" if channels == 1 else "color_layout.h"
    parts = {
        "choices.c": "".join(guarded([machine], *_choices(own)) for machine, own in chosen.items()),
        "cases.c": "".join(guarded([machine], *_cases(own)) for machine, own in chosen.items()),
        "refusal.c": text("none_refusal.c") if last is NONE else "",
        "finish.c": "",
        "finished.c": "",
    }
    if network.output != "logits":
        parts["finish.c"] = text("finish.c") + text(f"finish_{network.output}.c")
        parts["finished.c"] = "        lenet_finish(logits + LENET_LOGITS * i, n);\n"
    return {
        "lenet.c": named(text(f"{program.outline}.c", words, parts | dict(program.parts)), request),
        "lenet.h": named(text("lenet.h", words, {"layout.h": text(layout, words)}), request),
    }


def python_module(request: Request) -> dict[str, str]:
    """``python_module.c``, the library's Python entry, by name; whose own name has no prefix."""
    return {"python_module.c": named(text("python_module.c"), request)}


def named(source: str, request: Request) -> str:
    """C text whose names begin with the option ``prefix`` in place of ``lenet``."""
    prefix = request.options.get("prefix", PREFIX)
    if not _PREFIX.fullmatch(prefix) or prefix.lower() in _TAKEN:
        raise InputError(
            "prefix: expected letters, digits and underscores, a letter first, 32 at most, and "
            f"none of {', '.join(_TAKEN)}, found {prefix[:100]!r}"
        )
    source = re.sub(r"\blenet_(?!native\b|runtime\b)", f"{prefix}_", source)
    return re.sub(r"\bLENET_", f"{prefix.upper()}_", source)


def decimal(value: float | Sequence[float]) -> str:
    """The fewest digits that are `value` in float32; of several values, an array's list."""
    digits = [f"{np.float32(number)}f" for number in np.ravel(value)]
    return digits[0] if np.ndim(value) == 0 else f"{{{', '.join(digits)}}}"


def comment(label: str) -> str:
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
    return title + (guarded([level.machine], *parts) + "\n" if level.machine else "".join(parts))


def _choices(levels: Sequence[Level]) -> Iterator[str]:
    """C that returns the first of a machine's levels that this CPU has the features of."""
    if any(level.supported for level in levels) and levels[0].machine == "x86_64":
        yield "    __builtin_cpu_init();\n"
    for level in levels:
        condition = f"    if ({level.supported})\n    " if level.supported else ""
        yield f"{condition}    return {level.name.upper()};\n"


def _cases(levels: Sequence[Level]) -> Iterator[str]:
    for level in levels:
        call = f"{level.name}_chunk(images, logits, n, work)"
        yield f"    case {level.name.upper()}:\n        return {call};\n"


def guarded(machines: Iterable[str], *parts: str) -> str:
    """C text for the compilers that have the intrinsics of machines, see `Level.machine`."""
    known = " || ".join(f"defined(__{machine}__)" for machine in machines)
    known = f"({known})" if "||" in known else known
    return "".join([f"#if {known} && defined(__GNUC__)\n", *parts, "#endif\n"])


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
