"""The instruction sets that int8 has kernels for, and what their dot products take.

The int8 kernels are written in a few words (`load`, `splat`, `dot`, `max`, ...), which
``c/int8_NAME.h`` defines. A vector is `lanes` int32 sums. `dot` adds to each lane the products of
`group` codes, which all lanes share, with as many weights: four bytes where the CPU has VNNI, two
int16 elsewhere, since the byte products of AVX2 (VPMADDUBSW) saturate.
"""

from dataclasses import dataclass

from lenet_export.formats.native.isa import V3, V4, Level


@dataclass(frozen=True)
class Dots(Level):
    """The int8 kernels for one instruction set.

    Attributes:
        lanes: int32 sums in a vector.
        group: codes that a dot product takes: 4 uint8 or 2 int16.
        tile: vectors of outputs that a dense layer sums at once, of several images; 0 where it
            skips each image's zeros instead.
        check: a C expression, whether this CPU has the features, where not every compiler knows
            all of their names.
        compilers: a C condition, which of them know the features, where not all do.
        less: what a stored code of four is less than its value, where products are of signed bytes.
    """

    lanes: int
    group: int
    tile: int
    check: str = ""
    compilers: str = ""
    less: int = 0

    @property
    def attribute(self) -> str:
        """The attribute of a function; compilers do not agree on the names of ARM's features."""
        is_arm = self.machine == "aarch64" and self.features
        return f"{self.name.upper()}_TARGET" if is_arm else super().attribute

    @property
    def bias(self) -> str:
        """How the names of the biases end that go with the codes."""
        return "bias_of_signed" if self.less else "bias"

    @property
    def code(self) -> str:
        """The C type of an activation's code."""
        return "uint8_t" if self.group == 4 else "int16_t"

    @property
    def weight(self) -> str:
        """The C type of a weight of all layers but conv1."""
        return "int8_t" if self.group == 4 else "int16_t"

    @property
    def kernel(self) -> str:
        """How a kernel begins; inlined into one, gcc 12 keeps fewer constants in registers."""
        return f"__attribute__((noinline)) {self.attribute}" if self.features else ""

    @property
    def supported(self) -> str:
        """See `Level.supported`."""
        return self.check or super().supported

    def word(self, name: str, *arguments: str) -> str:
        """A call of one word."""
        return f"{self.name}_{name}({', '.join(arguments)})"

    @property
    def vec(self) -> str:
        """The vector type."""
        return f"{self.name}_vec"


VNNI = Dots(
    "vnni",
    "avx512_vnni",  # Linux's spelling of the CPU flag
    "32 registers of 64 bytes",
    (*V4.features, "avx512vnni"),
    lanes=16,
    group=4,
    machine="x86_64",
    tile=4,
)
AVX_VNNI = Dots(
    "avxvnni",
    "avx_vnni",
    "16 registers of 32 bytes, and dot products of four",
    (*V3.features, "avxvnni"),
    lanes=8,
    group=4,
    machine="x86_64",
    tile=3,
    check="avxvnni_here()",
    compilers="defined(__clang__) || __GNUC__ >= 11",
)
AVX2 = Dots(
    "avx2",
    V3.title,
    "16 registers of 16 int16",
    V3.features,
    lanes=8,
    group=2,
    machine="x86_64",
    tile=0,
)
NEON_DOT = Dots(
    "neondot",
    "asimddp",  # Linux's spelling of the CPU flag
    "64-bit ARM with dot products of four bytes",
    ("dotprod",),
    lanes=4,
    group=4,
    machine="aarch64",
    tile=4,
    check="neondot_here()",
    less=128,
)
NEON_INT8 = Dots(
    "neon",
    "neon",
    "64-bit ARM: 32 registers of 8 int16",
    (),
    lanes=4,
    group=2,
    machine="aarch64",
    tile=0,
)
GENERIC = Dots(
    "base",
    "generic",
    "everything else: 8 int16, SSE2 where there is",
    (),
    lanes=4,
    group=2,
    tile=0,
)
