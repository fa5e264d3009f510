"""C text of the dense layers, which skip every input that is zero.

After ReLU and pooling more than half of LeNet's activations are zero, and adding zero times a
(finite) weight changes no sum. So each image brings a bit mask of its inputs, and only the rows of
the weights that it selects are read and added. Images of a chunk take turns at a block of rows
that fits the L1 cache; one image alone runs through, since the sums then stay in registers.
"""

from lenet_export.formats.native.isa import Isa
from lenet_export.formats.native.pack import LANES, PackedDense

WORD = 64  # inputs whose bits are looked at together
PER_WORD = WORD // LANES  # masks


def layer(isa: Isa, number: int, dense: PackedDense, last: bool) -> str:
    """``NAME_denseN``: inputs and masks of n images to outputs and their masks."""
    name, w = f"{isa.name}_dense{number}", isa.word
    used = -(-dense.outputs // isa.width)  # vectors that hold an output
    words, mask_count = -(-dense.inputs // WORD), dense.inputs // LANES
    lines = [
        f"static {isa.attribute} void {name}(const float *x, const uint16_t *masks,",
        f"    float *y{'' if last else ', uint16_t *next'}, size_t n)",
        "{",
        f"    const int step = n < 3 ? {words} : 1;",
        f"    for (int start = 0; start < {words}; start += step)",
        "        for (size_t i = 0; i < n; i++) {",
    ]
    body: list[str] = []
    for first in range(0, used, isa.accumulators):
        group = range(first, min(first + isa.accumulators, used))
        body += [
            "{",
            f"    float *const sum = y + i * {dense.stride};",
            f"    const float *const from = start ? sum : lenet_dense{number}_bias;",
        ]
        body += [f"    {isa.vec} a{v} = {w('load', f'from + {v * isa.width}')};" for v in group]
        body += [
            "    for (int s = start; s < start + step; s++) {",
            f"        const int left = {mask_count} - {PER_WORD} * s;",
            f"        uint64_t bits = lenet_word(masks + i * {mask_count} + {PER_WORD} * s,",
            f"                                   left < {PER_WORD} ? left : {PER_WORD});",
            f"        const float *const values = x + i * {dense.inputs} + {WORD} * s;",
            f"        const float *const weights = lenet_dense{number}[{WORD} * s];",
            "        while (bits) {",
            "            const int k = lenet_lowest(bits);",
            f"            const {isa.vec} value = {w('splat', 'values + k')};",
            f"            const float *const row = weights + {dense.stride} * k;",
            "            bits &= bits - 1;",
        ]
        for v in group:
            weight = w("load", f"row + {v * isa.width}")
            body.append(f"            a{v} = {w('fma', 'value', weight, f'a{v}')};")
        body += ["        }", "    }"]
        if not last:
            body.append(f"    if (start + step == {words}) {{")
            body += [f"        a{v} = {w('max', w('zero'), f'a{v}')};" for v in group]
            body.append("    }")
        body += [f"    {w('store', f'sum + {v * isa.width}', f'a{v}')};" for v in group]
        body.append("}")
    if not last:
        masks, rest = dense.stride // LANES, dense.outputs % LANES
        nonzero = isa.word("nonzero", f"y + i * {dense.stride} + 16 * v")
        body += [
            f"if (start + step == {words}) {{",
            f"    for (int v = 0; v < {masks}; v++)",
            f"        next[i * {masks} + v] = {nonzero};",
        ]
        if rest:  # beyond them the memory may hold anything
            body.append(f"    next[i * {masks} + {masks - 1}] &= {(1 << rest) - 1:#x};")
        body.append("}")
    lines += ["            " + line for line in body]
    return "\n".join([*lines, "        }", "}"])
