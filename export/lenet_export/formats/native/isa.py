"""The instruction sets that code is generated for, and the tiles of the float kernels on each.

The float kernels are written in a few words (`load`, `splat`, `fma`, `max`, ...), which
``c/NAME.h`` defines for the vector type of each instruction set. Tiles differ because AVX2 has 16
registers of 8 floats where AVX-512 has 32 of 16.
"""

import dataclasses
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Level:
    """Kernels for one kind of CPU.

    Attributes:
        name: the prefix of their functions.
        title: what `lenet_isa` calls them.
        comment: a few words for the reader of the C text.
        features: the CPU features that they need, spelled as GCC and Clang do.
        machine: the architecture, as GCC and Clang spell its macro; empty for any.
    """

    name: str
    title: str
    comment: str
    features: tuple[str, ...]
    machine: str = field(default="", kw_only=True)

    @property
    def attribute(self) -> str:
        """The attribute of a function that lets a compiler without flags use the features."""
        return f'__attribute__((target("{",".join(self.features)}")))' if self.features else ""

    @property
    def supported(self) -> str:
        """A C expression, whether this CPU has the features; empty where there are none to ask."""
        return " && ".join(f'__builtin_cpu_supports("{feature}")' for feature in self.features)


@dataclass(frozen=True)
class Isa(Level):
    """The float kernels for one instruction set.

    Attributes:
        width: floats in a vector.
        tiles: Winograd tiles of a row that conv2 computes at once.
        vectors: of a tile's 16 output channels, the vectors that conv2 computes at once.
        columns: of the four products of a tile's row, those that conv2 computes at once.
        accumulators: vectors that a dense layer sums at once.
        by_lane: whether a product takes one lane of a vector, so that splats need no load.
        lanewise: whether no word moves values from lane to lane.
    """

    width: int
    tiles: int
    vectors: int
    columns: int
    accumulators: int
    by_lane: bool = False
    lanewise: bool = False

    def word(self, name: str, *arguments: str) -> str:
        """A call of one word."""
        return f"{self.name}_{name}({', '.join(arguments)})"

    @property
    def vec(self) -> str:
        """The vector type."""
        return f"{self.name}_vec"


def indent(lines: list[str], levels: int = 1) -> list[str]:
    """C text, moved in."""
    return ["    " * levels + line for line in lines]


def activate(isa: Isa, activation: str, value: str) -> str:
    """A C expression of the activation of a vector."""
    if activation == "relu":
        return isa.word("max", isa.word("zero"), value)
    return isa.word(activation, value) if activation else value


_V3_FEATURES = ("avx2", "fma", "bmi", "bmi2")
V4 = Isa(
    name="v4",
    title="x86-64-v4",
    comment="AVX-512: 32 registers of 16 floats",
    features=("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", *_V3_FEATURES),
    width=16,
    tiles=6,
    vectors=1,
    columns=4,
    accumulators=16,
    machine="x86_64",
)
V3 = Isa(
    name="v3",
    title="x86-64-v3",
    comment="AVX2 and FMA: 16 registers of 8 floats",
    features=_V3_FEATURES,
    width=8,
    tiles=3,
    vectors=2,
    columns=2,
    accumulators=15,
    machine="x86_64",
)
NEON = Isa(
    name="neon",
    title="neon",
    comment="64-bit ARM: 32 registers of four floats",
    features=(),
    width=4,
    tiles=3,
    vectors=2,
    columns=4,
    accumulators=21,
    by_lane=True,
    machine="aarch64",
)
BASE = Isa(
    name="base",
    title="generic",
    comment="everything else: four floats, SSE2 or NEON where the compiler has vectors",
    features=(),
    width=4,
    tiles=3,
    vectors=2,
    columns=2,
    accumulators=10,
)
# Sixteen lanes, of which `wasm_lanes` runs a register's at a time.
WASM = Isa(
    name="wasm",
    title="wasm",
    comment="WebAssembly: lanes of a register at a time",
    features=(),
    width=16,
    tiles=1,
    vectors=1,
    columns=4,
    accumulators=8,
    lanewise=True,
)
# For networks of other layers than LeNet's.
WASM_MEMBER = dataclasses.replace(BASE, title="wasm", tiles=1, vectors=4, columns=2, accumulators=6)
# VDPBF16PS multiplies two pairs of bfloat16 and adds the products to a float32 sum, in one cycle on
# Zen 4, as an FMA of one pair does. Each pair of inputs is rounded to nearest even before it is
# used, and skipped where both are zero. Half the bytes of weights then come from the cache, for
# half as many instructions.
BF16 = dataclasses.replace(
    V4,
    title="avx512_bf16",
    comment="AVX-512 with products of bfloat16",
    features=(*V4.features, "avx512bf16"),
)
# The CPU flags that BF16 needs, in Linux's spelling, for `Requirements.cpu_isa`.
BF16_FLAGS = (
    *("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    *("avx2", "fma", "bmi1", "bmi2", "avx512_bf16"),
)
# In place of kernels for every CPU, where there are none: `lenet_run` returns an error code.
NONE = Level("none", "none", "no kernels", ())
