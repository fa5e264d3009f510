"""Assembling ``lenet.c`` and ``lenet.h`` from the constants and each instruction set's kernels."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np

from lenet_export.formats.native import conv, dense
from lenet_export.formats.native.c_text import CAREFUL, HEADER, HELPERS, PRELUDE, PUBLIC, X86
from lenet_export.formats.native.isa import BASE, V3, V4, Isa
from lenet_export.formats.native.pack import LANES, Packed
from lenet_export.network.layers import Array, Network
from lenet_runtime import __version__

# Images that take turns at a block of dense weights; 16 and 64 are 1% slower.
CHUNK = 32
# Kernels by the highest x86-64 level, best first; the last runs everywhere.
LEVELS = {"x86-64-v4": (V4, V3, BASE), "x86-64-v3": (V3, BASE), "generic": (BASE,)}


def header(packed: Packed, weights_sha256: str, level: str) -> str:
    """``lenet.h``."""
    return HEADER.format(
        version=__version__,
        weights=weights_sha256,
        logits=packed.dense[-1].outputs,
        chunk=CHUNK,
        levels=", ".join(f'"{isa.title}"' for isa in LEVELS[level]),
        not_finite="NaN and infinities\n * propagate as in IEEE arithmetic.",
    )


def source(network: Network, packed: Packed, weights_sha256: str, level: str) -> str:
    """``lenet.c``: kernels up to the x86-64 level `level`, a key of `LEVELS`."""
    parts = [
        PRELUDE.format(version=__version__, weights=weights_sha256),
        sizes(network, packed),
        *constants(network, packed),
        HELPERS,
        CAREFUL,
    ]
    for isa in LEVELS[level]:
        parts += section(isa, packed)
    parts += [_dispatch(packed, LEVELS[level]), PUBLIC]
    return "\n".join(parts)


def sizes(network: Network, packed: Packed) -> str:
    """The network's sizes by name."""
    numbers = {
        "CHANNELS": packed.channels,
        "OUTPUTS": len(network.conv2.bias),
        "FEATURES": packed.dense[0].inputs,
        "WIDE": packed.blocks * LANES,
    }
    return "\n".join(f"#define {name} {value}" for name, value in numbers.items())


def constants(
    network: Network, packed: Packed, weights: Mapping[int, str] = MappingProxyType({})
) -> Iterator[str]:
    """Every C array; `weights` replaces those of some dense layers, by number."""
    yield constant("lenet_filter1", network.conv1.weight.reshape(packed.channels, 9))
    yield constant("lenet_filter2", network.conv2.weight.reshape(-1, packed.channels, 9))
    yield "/* F(2,3) along the rows of each filter: [channel][row][product]. */"
    yield constant("lenet_conv1", packed.conv1.reshape(packed.channels, 12))
    yield constant("lenet_conv1_bias", packed.conv1_bias)
    yield "/* F(4,3) down, F(2,3) along: [block][channel][6x4 position][output of the block]. */"
    yield constant("lenet_conv2", packed.conv2)
    yield constant("lenet_conv2_bias", packed.conv2_bias)
    yield "/* Dense layers, a row of outputs for each input; the first's are (y, x, channel). */"
    for number, layer in enumerate(packed.dense):
        yield weights.get(number) or constant(f"lenet_dense{number}", layer.weight)
        yield constant(f"lenet_dense{number}_bias", layer.bias)


def constant(name: str, values: Array) -> str:
    """A C array of the exact values, in hexadecimal."""
    shape = "".join(f"[{size}]" for size in values.shape)
    return f"_Alignas(64) static const float {name}{shape} = {_initializer(values)};"


def _initializer(values: Array) -> str:
    if values.ndim > 1:
        return "{" + ",\n".join(_initializer(row) for row in values) + "}"
    texts = [literal(value) for value in values]
    lines = [", ".join(texts[i : i + 8]) for i in range(0, len(texts), 8)]
    return "{" + ",\n ".join(lines) + "}"


def literal(value: np.float32) -> str:
    """The exact value, in hexadecimal."""
    if value == 0 and not np.signbit(value):
        return "0"
    mantissa, _, exponent = float(value).hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{int(exponent)}f"


def section(
    isa: Isa, packed: Packed, kernels: Mapping[int, str] = MappingProxyType({})
) -> Iterator[str]:
    """The words and kernels of one instruction set; `kernels` replaces some dense layers'."""
    yield f"/* ---- {isa.title}: {isa.comment} ---- */"
    if isa is not BASE:
        yield X86
    yield isa.words.replace("ATTRIBUTE", isa.attribute)
    yield conv.functions(isa, packed)
    last = len(packed.dense) - 1
    for number, layer in enumerate(packed.dense):
        yield kernels.get(number) or dense.layer(isa, number, layer, number == last)
    yield _chunk(isa, packed)
    if isa is not BASE:
        yield "#endif\n"


def layout(packed: Packed) -> dict[str, int]:
    """Where a chunk's arrays begin in the workspace, in floats; ``end`` is its size."""
    offsets, position = {}, 0
    widths = [packed.dense[0].inputs, *(layer.stride for layer in packed.dense)]
    scratch = max(conv.scratch_floats(packed), 15 * 15 * packed.channels)
    floats = {f"x{i}": CHUNK * width for i, width in enumerate(widths)} | {"scratch": scratch}
    floats |= {f"m{i}": CHUNK * width // LANES // 2 for i, width in enumerate(widths[:-1])}
    for name, size in floats.items():
        offsets[name] = position
        position += -(-size // LANES) * LANES  # each at a cache line of its own
    return offsets | {"end": position}


def _chunk(isa: Isa, packed: Packed) -> str:
    at, count = layout(packed), len(packed.dense)
    lines = [
        "/* At most LENET_CHUNK images, from pixels to logits; returns whether all are finite. */",
        f"static {isa.attribute} int {isa.name}_chunk(",
        "    const float *images, float *logits, size_t n, float *work)",
        "{",
        f"    float *const scratch = work + {at['scratch']};",
        "    uint32_t largest = 0;",
    ]
    lines += [f"    float *const x{i} = work + {at[f'x{i}']};" for i in range(count + 1)]
    lines += [
        f"    uint16_t *const m{i} = (uint16_t *)(void *)(work + {at[f'm{i}']});"
        for i in range(count)
    ]
    lines += [
        "    for (size_t i = 0; i < n; i++) {",
        "        const float *const image = images + LENET_PIXELS * i;",
        "        float *const features = x0 + FEATURES * i;",
        f"        const uint32_t own = {isa.name}_largest(image);",
        "        largest = own > largest ? own : largest;",
        "        if (own < LENET_TAME)",
        f"            {isa.name}_features(image, features, scratch);",
        "        else",
        "            lenet_careful(image, features, scratch);",
        "        for (int v = 0; v < FEATURES / 16; v++)",
        f"            m0[FEATURES / 16 * i + v] = {isa.word('nonzero', 'features + 16 * v')};",
        "    }",
    ]
    for i in range(count):
        following = f", m{i + 1}" if i < count - 1 else ""
        lines.append(f"    {isa.name}_dense{i}(x{i}, m{i}, x{i + 1}{following}, n);")
    stride = packed.dense[-1].stride
    lines += [
        "    for (size_t i = 0; i < n; i++)",
        f"        memcpy(logits + LENET_LOGITS * i, x{count} + {stride} * i,",
        "               LENET_LOGITS * sizeof *logits);",
        "    return largest < LENET_FINITE;",
        "}",
    ]
    return "\n".join(lines)


def _dispatch(packed: Packed, isas: tuple[Isa, ...]) -> str:
    """The public functions, and the choice between the instruction sets."""
    x86 = [isa for isa in isas if isa is not BASE]
    names = ", ".join(isa.name.upper() for isa in isas)
    titles = ", ".join(f'"{isa.title}"' for isa in isas)
    choices = "\n".join(
        f"    if ({isa.supported})\n        return {isa.name.upper()};" for isa in x86
    )
    cases = "\n".join(
        f"    case {isa.name.upper()}:\n        return {isa.name}_chunk(images, logits, n, work);"
        for isa in x86
    )
    return f"""\
enum level {{ {names} }};

static enum level lenet_level(void)
{{
{X86}
    __builtin_cpu_init();
{choices}
#endif
    return BASE;
}}

static int lenet_chunk(
    enum level level, const float *images, float *logits, size_t n, float *work)
{{
    switch (level) {{
{X86}
{cases}
#endif
    default:
        return base_chunk(images, logits, n, work);
    }}
}}

static int lenet_batch(
    const float *images, float *logits, size_t batch, void *workspace, int must_be_finite)
{{
    const enum level level = lenet_level();
    if (batch == 0)
        return LENET_OK;
    if (images == NULL || logits == NULL || workspace == NULL)
        return LENET_ERROR_NULL;
    float *const work = (float *)(void *)((char *)workspace + (-(uintptr_t)workspace & 63));
    for (size_t i = 0; i < batch; i += LENET_CHUNK) {{
        const size_t n = batch - i < LENET_CHUNK ? batch - i : LENET_CHUNK;
        const int finite = lenet_chunk(
            level, images + LENET_PIXELS * i, logits + LENET_LOGITS * i, n, work);
        if (must_be_finite && !finite)
            return LENET_ERROR_NOT_FINITE;
    }}
    return LENET_OK;
}}

const char *lenet_isa(void)
{{
    static const char *const names[] = {{{titles}}};
    return names[lenet_level()];
}}

size_t lenet_workspace_size(void)
{{
    return {4 * layout(packed)["end"] + 64}; /* with room to begin at a cache line */
}}
"""
