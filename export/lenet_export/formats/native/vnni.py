"""C text of the int8 kernels for AVX-512 VNNI, whose dot product of four bytes is one instruction.

conv1 has pooled columns in lanes, as the fp32 kernel does, and takes two int16 taps at once
(VPDPWSSD): nine taps are five products. conv2 has output channels in lanes; all its weights stay
in registers, and a broadcast of four bytes brings taps and channels of a row as they lie in
memory (VPDPBUSD). `vnni_dense` has the dense layers.
"""

from lenet_export.formats.native import assembly, vnni_dense
from lenet_export.formats.native.int8_pack import ROWS, TILES, PackedInt8
from lenet_export.formats.native.isa import VNNI, indent
from lenet_export.formats.native.pack import LANES
from lenet_export.formats.native.vnni_dense import IMAGES, KERNEL

_IMAGE_BYTES = 4 * 32 * 32


def kernels(packed: PackedInt8, arrays: str) -> str:
    """``vnni_chunk``, and all that it calls; `arrays` declares the workspace's x0, x1, ..."""
    words = {"ATTRIBUTE": VNNI.attribute, "KERNEL": KERNEL}
    last = len(packed.dense) - 1
    parts = [assembly.text("vnni.h", words), _conv1(packed), _conv2(packed)]
    parts += [vnni_dense.layer(i, layer, i == last) for i, layer in enumerate(packed.dense)]
    return "\n".join([*parts, _chunk(packed, arrays)])


def _conv1(packed: PackedInt8) -> str:
    """Pixel codes to pooled codes; a row of 14 columns at a time, its channels interleaved."""
    lines = [
        "/* conv1: pixel codes to pooled codes [row][column][channel]. */",
        f"static {KERNEL} void vnni_conv1(const int16_t *image, uint8_t *pooled)",
        "{",
        "    const __m512i transpose = _mm512_broadcast_i32x4(_mm_setr_epi8(",
        "        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));",
        f"    for (int p = 0; p < {ROWS}; p++) {{",
    ]
    body = ["const int16_t *const row = image + 64 * p;"]
    # Lane j of rY_X holds columns 2j+X and 2j+X+1 of row Y: two taps of column 2j or 2j+1.
    for y in range(4):
        for x in range(4):
            body.append(f"const __m512i r{y}_{x} = _mm512_loadu_si512(row + {32 * y + x});")
    # Third taps: of two rows side by side.
    for y in (0, 2):
        for x in (2, 3):
            high = f"_mm512_slli_epi32(r{y + 1}_{x}, 16)"
            body.append(
                f"const __m512i t{y}_{x} = _mm512_mask_blend_epi16(0xaaaaaaaa, r{y}_{x}, {high});"
            )
    body.append(f"__m512i q[{-(-packed.channels // 4) * 4}];")
    body.append(f"for (int k = 0; k < {packed.channels}; k++) {{")
    body.append("    const int32_t *const w = lenet_conv1_pairs[k];")
    for i in range(7):
        body.append(f"    const __m512i w{i} = _mm512_set1_epi32(w[{i}]);")
    body.append("    const __m512i bias = _mm512_set1_epi32(lenet_conv1_bias[k]);")
    outputs = [(y, x) for y in range(2) for x in range(2)]
    for step in range(5):
        for y, x in outputs:
            third = (f"t0_{x + 2}", f"r2_{x + 2}") if y == 0 else (f"t2_{x + 2}", f"r1_{x + 2}")
            value = [f"r{y}_{x}", f"r{y + 1}_{x}", f"r{y + 2}_{x}", *third][step]
            weight = f"w{step if step < 3 else step + 2 * y}"
            start = "bias" if step == 0 else f"a{y}{x}"
            declare = "__m512i " if step == 0 else ""
            body.append(f"    {declare}a{y}{x} = _mm512_dpwssd_epi32({start}, {value}, {weight});")
    body += [
        "    const __m512i best = _mm512_max_epi32(",
        "        _mm512_max_epi32(a00, a01), _mm512_max_epi32(a10, a11));",
        "    q[k] = vnni_rescale(best, _mm512_set1_ps(lenet_conv1_scale[k]));",
        "}",
    ]
    sources, (_, masks) = -(-packed.channels // 4), packed.interleave
    for s in range(sources):
        q = [
            f"q[{c}]" if c < packed.channels else "_mm512_setzero_si512()"
            for c in range(4 * s, 4 * s + 4)
        ]
        body += [
            f"const __m512i s{s} = _mm512_shuffle_epi8(_mm512_packus_epi16(",
            f"    _mm512_packs_epi32({q[0]}, {q[1]}),",
            f"    _mm512_packs_epi32({q[2]}, {q[3]})), transpose);",
        ]
    for r in range(packed.registers):
        body.append(f"__m512i out{r} = _mm512_setzero_si512();")
        for s in range(sources):
            mask = int(masks[r, s])
            if mask:
                body += [
                    f"out{r} = _mm512_mask_permutexvar_epi16(out{r}, {mask:#x},",
                    f"    _mm512_loadu_si512(lenet_interleave[{r}][{s}]), s{s});",
                ]
        body.append(f"_mm512_storeu_si512(pooled + {packed.row} * p + {64 * r}, out{r});")
    lines += indent(body, 2)
    return "\n".join([*lines, "    }", "}"])


def _conv2(packed: PackedInt8) -> str:
    """Pooled codes to features: two pooling windows at a time, eight sums.

    The dot products leave loads idle. Meanwhile the next image is fetched, whose pages are new to
    the hardware's prefetcher; or for one image alone, which would have to wait for them, the first
    of the next layer's weights.
    """
    dots, pixel = packed.dots, packed.pixel
    lines = [
        "/* conv2: pooled codes to feature codes [row][column][channel]. Prefetches what lies at",
        " * `ahead`, `step` bytes after that, and so on. */",
        f"static {KERNEL} void vnni_conv2(const uint8_t *pooled, uint8_t *features,",
        "    const char *ahead, size_t step)",
        "{",
        f"    for (int b = 0; b < {packed.blocks}; b++) {{",
    ]
    body = [
        "const __m512i bias = _mm512_loadu_si512(lenet_conv2_bias[b]);",
        "const __m512 scale = _mm512_loadu_ps(lenet_conv2_scale[b]);",
    ]
    for y in range(3):
        for i in range(dots):
            body.append(
                f"const __m512i w{y}_{i} = _mm512_loadu_si512(lenet_conv2_bytes[b][{y}][{i}]);"
            )
    body += [
        f"for (int y = 0; y < {TILES}; y++)",
        f"    for (int x = 0; x < {TILES}; x += 2) {{",
        f"        const uint8_t *const corner = pooled + {2 * packed.row} * y + {2 * pixel} * x;",
    ]
    inner = [
        "__m512i " + ", ".join(f"a{y}{x} = bias" for y in range(2) for x in range(4)) + ";",
        "__m512i v;",
    ]
    for row in range(4):
        for i in range(dots):
            inner.append("__builtin_prefetch(ahead);")
            inner.append("ahead += step;")
            for x in range(4):
                at = row * packed.row + x * pixel + 4 * i
                inner.append(f"v = vnni_splat(corner + {at});")
                for y in range(2):
                    if 0 <= row - y < 3:
                        sum_ = f"a{y}{x}"
                        inner.append(f"{sum_} = _mm512_dpbusd_epi32({sum_}, v, w{row - y}_{i});")
    for t in range(2):
        names = [f"a{y}{x}" for y in range(2) for x in (2 * t, 2 * t + 1)]
        inner += [
            f"const __m512i best{t} = _mm512_max_epi32(",
            f"    _mm512_max_epi32({names[0]}, {names[1]}),",
            f"    _mm512_max_epi32({names[2]}, {names[3]}));",
            f"vnni_store16(features + ({TILES} * y + x + {t}) * {packed.blocks * LANES} + 16 * b,",
            f"             vnni_rescale(best{t}, scale));",
        ]
    body += [*indent(inner, 2), "    }"]
    lines += indent(body, 2)
    return "\n".join([*lines, "    }", "}"])


def _chunk(packed: PackedInt8, arrays: str) -> str:
    prefetches = TILES * TILES // 2 * 4 * packed.dots * packed.blocks
    calls = []
    for i, layer in enumerate(packed.dense):
        last = i == len(packed.dense) - 1
        to = f"logits + {layer.outputs}" if last else f"x{i + 1} + {layer.stride}"
        calls.append(f"        vnni_dense{i}(x{i} + {layer.inputs} * i, {to} * i, m);\n")
    words = {
        "ATTRIBUTE": VNNI.attribute,
        "INPUTS": packed.dense[0].inputs,
        "IMAGE_STEP": _IMAGE_BYTES // prefetches,
        # None lies beyond the weights.
        "WEIGHTS_STEP": min(64, packed.dense[0].weight.size // prefetches),
        "TURNS": IMAGES,
    }
    parts = {"arrays.c": arrays, "vnni_layers.c": "".join(calls)}
    return assembly.text("vnni_chunk.c", {k: str(v) for k, v in words.items()}, parts)
