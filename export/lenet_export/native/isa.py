"""The instruction sets that code is generated for, each with its vocabulary and its tiles.

The kernels are written in a few words (`fma`, `splat`, `max`, ...), which every instruction set
defines for its own vector type. Tiles differ because AVX2 has 16 registers of 8 floats where
AVX-512 has 32 of 16.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Isa:
    """One instruction set.

    Attributes:
        name: prefix of its functions.
        title: for the comment above them.
        guard: preprocessor condition under which it is compiled.
        attribute: of every function, lets a compiler without flags emit the instructions.
        width: floats in a vector.
        tiles: of a row, that conv2 computes at once.
        rows: of the 4x4 positions of a tile, that conv2 computes at once.
        accumulators: vectors that a dense layer sums at once.
        vocabulary: C text that defines the words.
        load_row: C text that splits a row of 32 pixels, see `conv.load_row`.
    """

    name: str
    title: str
    guard: str
    attribute: str
    width: int
    tiles: int
    rows: int
    accumulators: int
    vocabulary: str

    def word(self, name: str, *arguments: str) -> str:
        """A call of one word of the vocabulary."""
        return f"{self.name}_{name}({', '.join(arguments)})"


_X86 = "LENET_X86"

V4 = Isa(
    name="v4",
    title="x86-64-v4: AVX-512, 32 registers of 16 floats",
    guard=_X86,
    attribute='__attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi,bmi2")))',
    width=16,
    tiles=6,
    rows=4,
    accumulators=16,
    vocabulary="""
typedef __m512 v4_vec;
#define v4_load(p) _mm512_loadu_ps(p)
#define v4_store(p, a) _mm512_storeu_ps(p, a)
#define v4_zero() _mm512_setzero_ps()
#define v4_splat(p) _mm512_set1_ps(*(p))
#define v4_add(a, b) _mm512_add_ps(a, b)
#define v4_sub(a, b) _mm512_sub_ps(a, b)
#define v4_mul(a, b) _mm512_mul_ps(a, b)
#define v4_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define v4_add_(a, b) _mm512_fmadd_ps(a, one, b)
#define v4_sub_(a, b) _mm512_fmsub_ps(a, one, b)
#define v4_max(a, b) _mm512_max_ps(a, b)
#define v4_keep(a) __asm__("" : "+v"(a))
#define v4_nonzero(p) \\
    ((uint32_t)_mm512_cmp_ps_mask(_mm512_loadu_ps(p), _mm512_setzero_ps(), _CMP_NEQ_UQ))
""",
)

V3 = Isa(
    name="v3",
    title="x86-64-v3: AVX2 and FMA, 16 registers of 8 floats",
    guard=_X86,
    attribute='__attribute__((target("avx2,fma,bmi,bmi2")))',
    width=8,
    tiles=3,
    rows=2,
    accumulators=15,
    vocabulary="""
typedef __m256 v3_vec;
#define v3_load(p) _mm256_loadu_ps(p)
#define v3_store(p, a) _mm256_storeu_ps(p, a)
#define v3_zero() _mm256_setzero_ps()
#define v3_splat(p) _mm256_broadcast_ss(p)
#define v3_add(a, b) _mm256_add_ps(a, b)
#define v3_sub(a, b) _mm256_sub_ps(a, b)
#define v3_mul(a, b) _mm256_mul_ps(a, b)
#define v3_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define v3_max(a, b) _mm256_max_ps(a, b)
#define v3_keep(a) __asm__("" : "+x"(a))
#define v3_nonzero8(p) \\
    ((uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(p), _mm256_setzero_ps(), \\
                                                _CMP_NEQ_UQ)))
#define v3_nonzero(p) (v3_nonzero8(p) | v3_nonzero8((p) + 8) << 8)
""",
)
