"""The float kernels for WebAssembly: those of sixteen lanes, run for some of them at a time.

Unrolled for four lanes, as `isa.BASE` is, the kernels take 25 KB of WebAssembly with an emulated
multiply-add and 60 without SIMD, and a page downloads each of them. But all that they do is the
same in every lane. So they are generated for registers of sixteen, whose words ``c/wasm.h`` defines
for the lanes of one register that the engine has, and each function is called once a register.
"""

import dataclasses
import re

from lenet_export.formats.native import assembly
from lenet_export.formats.native.assembly import Program
from lenet_export.formats.native.isa import WASM
from lenet_export.formats.native.pack import LANES

_HEAD = re.compile(
    r"^static (?:inline |LENET_APART )? void wasm_([a-z]+)(\d*)\(([^{}]*)\)\n\{", re.MULTILINE
)
_LAST = "    if (!wasm_all_columns)\n        return; /* until conv1 has been through all lanes */\n"
_COLUMNS = f"        wasm_all_columns = lane + WASM_WIDTH == {LANES};\n"
# Of each kind of function: what stands before the loop over its lanes and in it, and how many lanes
# there are.
_KINDS = {
    "transform": (_LAST, "", LANES // 2),
    "conv": (_LAST, "", LANES),
    "features": ("", _COLUMNS, LANES),
    "dense": ("", "", LANES),
}


def looped(program: Program) -> Program:
    """The program, each of whose functions on lanes is called in a loop."""
    kernels = _HEAD.sub(_loop, program.parts["kernels.c"])
    return dataclasses.replace(program, parts={**program.parts, "kernels.c": kernels})


def _loop(head: re.Match[str]) -> str:
    """A function that loops, and the head of the one that it calls."""
    kind, number, parameters = head.groups()
    before, inside, lanes = _KINDS[kind]
    words = {
        "NAME": kind + number,
        "PARAMETERS": parameters,
        "BEFORE": before,
        "LANES": str(lanes),
        "INSIDE": inside,
        "ARGUMENTS": ", ".join(re.findall(r"(\w+)(?:,|$)", parameters)),
    }
    text = assembly.text("wasm_lanes.c")
    for word, value in words.items():
        text = text.replace(word, value)
    return f"{text}static void {WASM.name}_{kind}{number}_lanes({parameters})\n{{"
