"""C text of the dense layers, which skip every input that is zero.

After ReLU and pooling more than half of LeNet's activations are zero, and adding zero times a
(finite) weight changes no sum. So each image brings a bit mask of its inputs, and only the rows of
the weights that it selects are read and added. Images of a chunk take turns at a block of rows
that fits the L1 cache; one image alone runs through, since the sums then stay in registers.

Sums begin at zero, and the bias is added last: products that are small beside it would lose their
last bits to it one by one, and so they lose them once.
"""

from lenet_export.formats.native.isa import Isa, activate, indent
from lenet_export.formats.native.pack import LANES, PackedDense

WORD = 64  # inputs, or pairs of inputs, whose bits are looked at together
PER_WORD = WORD // LANES  # masks


def layer(isa: Isa, number: int, dense: PackedDense, last: bool, paired: bool) -> str:
    """``NAME_denseN``: inputs and masks of n images to outputs and their masks.

    A layer that is `paired` takes two inputs at once in bfloat16: it first replaces the inputs and
    the masks by those of the pairs.
    """
    name, masks = f"{isa.name}_dense{number}", dense.inputs // LANES
    words = -(-dense.inputs // (WORD * (1 + paired)))
    const = "" if paired else "const "
    lines = [
        f"static {isa.attribute} void {name}({const}float *x, {const}uint16_t *masks,",
        f"    float *y{'' if last else ', uint16_t *next'}, size_t n)",
        "{",
        f"    const int step = n < 3 ? {words} : 1;",
    ]
    if paired:
        lines += [
            "    for (size_t i = 0; i < n; i++)",
            f"        bf16_pairs(x + i * {dense.inputs}, masks + i * {masks}, {dense.inputs});",
        ]
    lines += [
        f"    for (int start = 0; start < {words}; start += step)",
        "        for (size_t i = 0; i < n; i++) {",
    ]
    vectors = range(-(-dense.outputs // isa.width))  # those that hold an output
    body = []
    for first in range(0, len(vectors), isa.accumulators):
        group = vectors[first : first + isa.accumulators]
        body += ["{", *indent(_sums(isa, number, dense, group, paired))]
        body.append(f"    if (start + step == {words}) {{")
        for v in group:
            bias = isa.word("load", f"lenet_dense{number}_bias + {v * isa.width}")
            whole = activate(isa, dense.activation, isa.word("add", f"a{v}", bias))
            body.append(f"        a{v} = {whole};")
        body.append("    }")
        body += [f"    {isa.word('store', f'sum + {v * isa.width}', f'a{v}')};" for v in group]
        body.append("}")
    if not last:
        following, rest = dense.stride // LANES, dense.outputs % LANES
        nonzero = isa.word("nonzero", f"y + i * {dense.stride} + 16 * v")
        body += [
            f"if (start + step == {words}) {{",
            f"    for (int v = 0; v < {following}; v++)",
            f"        next[i * {following} + (size_t)v] = {nonzero};",
        ]
        if rest:  # beyond them the memory may hold anything
            body.append(f"    next[i * {following} + {following - 1}] &= {(1 << rest) - 1:#x};")
        body.append("}")
    return "\n".join([*lines, *indent(body, 3), "        }", "}"])


def _sums(isa: Isa, number: int, dense: PackedDense, group: range, paired: bool) -> list[str]:
    """The vectors ``aV`` of a group of outputs, summed over the words from ``start`` on."""
    if paired:
        prefix, vec, weight, size = "bf16", "bf16_vec", "uint16_t", 2
    else:
        prefix, vec, weight, size = isa.name, isa.vec, "float", 1
    masks = dense.inputs // LANES
    lines = [f"float *const sum = y + i * {dense.stride};"]
    lines += [f"{isa.vec} a{v} = {isa.word('zero')};" for v in group]
    lines.append("if (start) {")
    lines += [f"    a{v} = {isa.word('load', f'sum + {v * isa.width}')};" for v in group]
    lines += [
        "}",
        "for (int s = start; s < start + step; s++) {",
        f"    const int left = {-(-masks // size)} - {PER_WORD} * s;",
        f"    uint64_t bits = lenet_word(masks + i * {masks} + {PER_WORD} * s,",
        f"                               left < {PER_WORD} ? left : {PER_WORD});",
        f"    const float *const values = x + i * {dense.inputs} + {WORD} * s;",
        f"    const {weight} *const weights = lenet_dense{number}[{WORD} * s];",
        "    while (bits) {",
        "        const int k = lenet_lowest(bits);",
        f"        const {vec} value = {prefix}_splat(values + k);",
        f"        const {weight} *const row = weights + {size * dense.stride} * k;",
        "        bits &= bits - 1;",
    ]
    for v in group:
        row = f"{prefix}_load(row + {size * v * isa.width})"
        lines.append(f"        a{v} = {prefix}_fma(value, {row}, a{v});")
    return [*lines, "    }", "}"]
