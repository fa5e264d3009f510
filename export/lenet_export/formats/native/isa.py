"""The instruction sets that code is generated for: the words of each, and its tiles.

The kernels are written in a few words (`load`, `splat`, `fma`, `max`, ...), which every
instruction set defines for its own vector type. Tiles differ because AVX2 has 16 registers of 8
floats where AVX-512 has 32 of 16.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Isa:
    """One instruction set.

    Attributes:
        name: prefix of its functions.
        title: what `lenet_isa` calls it: a level of the x86-64 psABI, or ``generic``.
        comment: for the reader of the C text.
        attribute: of every function; lets a compiler without flags use the instructions.
        supported: C expression, whether this CPU has them.
        width: floats in a vector.
        half: prefix of the words for eight lanes, or for `width` where that is less.
        tiles: Winograd tiles of a row that conv2 computes at once.
        pairs: of the three pairs of rows of a tile's positions, that conv2 computes at once.
        accumulators: vectors that a dense layer sums at once.
        words: C text that defines the words.
        parted: C text that puts row[4 * lane + t] into the vectors ``dT_V``, see `conv.load_row`.
    """

    name: str
    title: str
    comment: str
    attribute: str
    supported: str
    width: int
    half: str
    tiles: int
    pairs: int
    accumulators: int
    words: str
    parted: str

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


def _indices(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


# Pixels of the four products' first inputs, by lane: even pooled columns, then odd ones. The last
# lane of each half is computed and never used, so any pixel will do where its own lies outside.
_PERMUTATIONS = (
    [*range(0, 32, 4), *range(2, 32, 4)],
    [*range(1, 32, 4), *range(3, 32, 4)],
    [*range(2, 32, 4), *range(4, 32, 4), 28],
    [*range(3, 32, 4), *range(5, 32, 4), 29],
)
V4_FEATURES = (
    "avx512f",
    "avx512bw",
    "avx512cd",
    "avx512dq",
    "avx512vl",
    "avx2",
    "fma",
    "bmi",
    "bmi2",
)
_V3_FEATURES = ("avx2", "fma", "bmi", "bmi2")


def target(features: tuple[str, ...]) -> str:
    """The attribute of a function that uses `features`, spelled as GCC and Clang do."""
    return f'__attribute__((target("{",".join(features)}")))'


def supports(features: tuple[str, ...]) -> str:
    """A C expression, whether this CPU has `features`."""
    return " && ".join(f'__builtin_cpu_supports("{feature}")' for feature in features)


V4 = Isa(
    name="v4",
    title="x86-64-v4",
    comment="AVX-512: 32 registers of 16 floats",
    attribute=target(V4_FEATURES),
    supported=supports(V4_FEATURES),
    width=16,
    half="v4h",
    tiles=3,
    pairs=3,
    accumulators=16,
    words="""\
typedef __m512 v4_vec;
#define v4_load(p) _mm512_loadu_ps(p)
#define v4_store(p, a) _mm512_storeu_ps(p, a)
#define v4_zero() _mm512_setzero_ps()
#define v4_splat(p) _mm512_set1_ps(*(p))
#define v4_add(a, b) _mm512_add_ps(a, b)
#define v4_sub(a, b) _mm512_sub_ps(a, b)
#define v4_mul(a, b) _mm512_mul_ps(a, b)
#define v4_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define v4_max(a, b) _mm512_max_ps(a, b)
/* a + b and a - b on the units for FMAs, which have nothing else to do at these places. */
#define v4_add2(a, b) _mm512_fmadd_ps(a, one, b)
#define v4_sub2(a, b) _mm512_fmsub_ps(a, one, b)
/* The compiler must keep a in a register: read from memory by each of its FMAs, it would compete
   with their other operand for the two loads of a cycle. */
#define v4_keep(a) __asm__("" : "+v"(a))
#define v4_nonzero(p) \\
    ((uint16_t)_mm512_cmp_ps_mask(_mm512_loadu_ps(p), _mm512_setzero_ps(), _CMP_NEQ_UQ))
typedef __m256 v4h_vec;
#define v4h_load(p) _mm256_loadu_ps(p)
#define v4h_store(p, a) _mm256_storeu_ps(p, a)
#define v4h_add(a, b) _mm256_add_ps(a, b)
#define v4h_sub(a, b) _mm256_sub_ps(a, b)
#define v4h_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define v4h_splat(p) _mm256_broadcast_ss(p)

static inline ATTRIBUTE uint32_t v4_largest(const float *image)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i most = _mm512_setzero_si512();
    for (int i = 0; i < LENET_PIXELS; i += 16) {
        const __m512i bits = _mm512_castps_si512(_mm512_loadu_ps(image + i));
        most = _mm512_max_epu32(most, _mm512_and_si512(magnitude, bits));
    }
    return _mm512_reduce_max_epu32(most);
}
""",
    parted="const __m512 lo = _mm512_loadu_ps(row), hi = _mm512_loadu_ps(row + 16);\n"
    + "\n".join(
        f"const __m512 d{t}_0 = _mm512_permutex2var_ps(\n"
        f"    lo, _mm512_setr_epi32({_indices(index)}),\n    hi);"
        for t, index in enumerate(_PERMUTATIONS)
    ),
)

V3 = Isa(
    name="v3",
    title="x86-64-v3",
    comment="AVX2 and FMA: 16 registers of 8 floats",
    attribute=target(_V3_FEATURES),
    supported=supports(_V3_FEATURES),
    width=8,
    half="v3",
    tiles=3,
    pairs=1,
    accumulators=15,
    words="""\
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
#define v3_add2(a, b) _mm256_add_ps(a, b)
#define v3_sub2(a, b) _mm256_sub_ps(a, b)
#define v3_keep(a) __asm__("" : "+x"(a))
#define v3_nonzero8(p) \\
    _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(p), _mm256_setzero_ps(), _CMP_NEQ_UQ))
#define v3_nonzero(p) ((uint16_t)(v3_nonzero8(p) | v3_nonzero8((p) + 8) << 8))
#define v3_two(p) \\
    _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps((p) + 16), 1)
#define v3_next(a) \\
    _mm256_permutevar8x32_ps(a, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 7))

static inline ATTRIBUTE uint32_t v3_largest(const float *image)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i most = _mm256_setzero_si256();
    uint32_t lanes[8], largest = 0;
    for (int i = 0; i < LENET_PIXELS; i += 8) {
        const __m256i bits = _mm256_castps_si256(_mm256_loadu_ps(image + i));
        most = _mm256_max_epu32(most, _mm256_and_si256(magnitude, bits));
    }
    memcpy(lanes, &most, sizeof lanes);
    for (int i = 0; i < 8; i++)
        largest = lanes[i] > largest ? lanes[i] : largest;
    return largest;
}
""",
    # Two 4x4 transpositions side by side.
    parted="""\
const __m256 a = v3_two(row), b = v3_two(row + 4), c = v3_two(row + 8), d = v3_two(row + 12);
const __m256 ab = _mm256_unpacklo_ps(a, b), AB = _mm256_unpackhi_ps(a, b);
const __m256 cd = _mm256_unpacklo_ps(c, d), CD = _mm256_unpackhi_ps(c, d);
const __m256 d0_0 = _mm256_shuffle_ps(ab, cd, 0x44), d1_0 = _mm256_shuffle_ps(ab, cd, 0xee);
const __m256 d2_0 = _mm256_shuffle_ps(AB, CD, 0x44), d3_0 = _mm256_shuffle_ps(AB, CD, 0xee);
const __m256 d0_1 = d2_0, d1_1 = d3_0, d2_1 = v3_next(d0_0), d3_1 = v3_next(d1_0);""",
)

BASE = Isa(
    name="base",
    title="generic",
    comment="everything else: four floats, SSE2 or NEON where the compiler has vectors",
    attribute="",
    supported="1",
    width=4,
    half="base",
    tiles=2,
    pairs=1,
    accumulators=10,
    words="""\
#if defined(__GNUC__) && !defined(LENET_PLAIN_C)
typedef float base_vec __attribute__((vector_size(16)));
typedef int32_t base_bits __attribute__((vector_size(16)));
#define base_add(a, b) ((a) + (b))
#define base_sub(a, b) ((a) - (b))
#define base_mul(a, b) ((a) * (b))
#if defined(__aarch64__)
#define base_fma(a, b, c) vfmaq_f32(c, a, b)
#else
#define base_fma(a, b, c) ((a) * (b) + (c))
#endif
static inline base_vec base_max(base_vec a, base_vec b)
{
    const base_bits greater = (base_bits)(a > b);
    return (base_vec)(((base_bits)a & greater) | ((base_bits)b & ~greater));
}
#define base_splat(p) ((base_vec){*(p), *(p), *(p), *(p)})
#else
typedef struct { float lane[4]; } base_vec;
#define BASE_WORD(name, expression) \\
    static inline base_vec name(base_vec a, base_vec b) \\
    { \\
        base_vec r; \\
        for (int i = 0; i < 4; i++) \\
            r.lane[i] = expression; \\
        return r; \\
    }
BASE_WORD(base_add, a.lane[i] + b.lane[i])
BASE_WORD(base_sub, a.lane[i] - b.lane[i])
BASE_WORD(base_mul, a.lane[i] * b.lane[i])
BASE_WORD(base_max, a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i])
#define base_fma(a, b, c) base_add(base_mul(a, b), c)
static inline base_vec base_splat(const float *p)
{
    const base_vec r = {{*p, *p, *p, *p}};
    return r;
}
#endif
static inline base_vec base_load(const float *p)
{
    base_vec r;
    memcpy(&r, p, sizeof r);
    return r;
}
static inline void base_store(float *p, base_vec a) { memcpy(p, &a, sizeof a); }
static const float base_zeros[4] = {0, 0, 0, 0};
#define base_zero() base_load(base_zeros)
#define base_add2(a, b) base_add(a, b)
#define base_sub2(a, b) base_sub(a, b)
#define base_keep(a) ((void)(a))
static inline uint16_t base_nonzero(const float *p)
{
    unsigned bits = 0;
    for (int i = 0; i < 16; i++)
        bits |= (unsigned)(p[i] != 0) << i;
    return (uint16_t)bits;
}

static inline uint32_t base_largest(const float *image)
{
    uint32_t largest = 0;
    for (int i = 0; i < LENET_PIXELS; i++) {
        uint32_t bits;
        memcpy(&bits, image + i, sizeof bits);
        bits &= 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}
""",
    parted="float part[4][9];\n"
    "for (int t = 0; t < 4; t++) {\n"
    "    for (int j = 0; j < 8; j++)\n"
    "        part[t][j] = row[4 * j + t];\n"
    "    part[t][8] = part[t][7];\n"
    "}\n"
    + "\n".join(
        f"const base_vec d{t}_{v} = base_load(part[{(t + 2 * (v // 2)) % 4}] + "
        f"{4 * (v % 2) + (t + 2 * (v // 2)) // 4});"
        for v in range(4)
        for t in range(4)
    ),
)
