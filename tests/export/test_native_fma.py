"""The multiply-add of CPUs without FMA: rounded once, as IEEE 754's is."""

import ctypes
import functools
import math
from fractions import Fraction

import numpy as np
import pytest
from native_c import COMPILERS, FLAGS, need, shell, write

from lenet_export.formats.native.assembly import text

# What the generic section is made of, and the C library's own.
SOURCE = """
typedef struct { float lane[4]; } four;
void each(const float *a, const float *b, const float *c, float *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        r[i] = lenet_fma(a[i], b[i], c[i]);
}
void vectors(const float *a, const float *b, const float *c, float *r, size_t n)
{
    for (size_t i = 0; i < n; i += 4)
        base_store(r + i, base_fma(base_load(a + i), base_load(b + i), base_load(c + i)));
}
void library(const float *a, const float *b, const float *c, float *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        r[i] = fmaf(a[i], b[i], c[i]);
}
"""
COUNT = 100_000


def build(compiler, *flags):
    """The three functions; without -mfma, so that nothing is one instruction."""
    need(compiler)
    start = text("start.c").replace('#include "lenet.h"', "#include <stddef.h>\n#include <math.h>")
    words = text("base.h", parts={"base_largest.c": ""})
    source = start + text("fma.c") + words + SOURCE
    folder = write({"fma.c": source})
    ignored = ("-Wno-unused-function", "-Wno-unused-const-variable")
    shell(compiler, *FLAGS, *ignored, *flags, "-shared", "-o", "fma.so", "fma.c", "-lm", cwd=folder)
    return ctypes.CDLL(str(folder / "fma.so"))


def call(function, a, b, c):
    result = np.empty_like(a)
    pointers = [ctypes.c_void_p(x.ctypes.data) for x in (a, b, c, result)]
    function(*pointers, ctypes.c_size_t(len(a)))
    return result


@functools.cache
def triples():
    """Of every kind: any bits, near half-way between floats, subnormal, at the ends."""
    random = np.random.default_rng(0)
    any_bits = random.integers(0, 2**32, (3, COUNT), np.uint32).view(np.float32)
    usual = random.standard_normal((3, COUNT)).astype(np.float32)

    # A product that is half a unit of c's last place, or next to it; c of any exponent, also where
    # the sum is subnormal or overflows.
    def near_half_way(exponents):
        c = np.ldexp(1 + random.integers(0, 2**23, COUNT) / 2**23, exponents)
        unit = np.maximum(exponents - 23, -149)
        near = random.integers(-2, 3, (2, COUNT)) / 2**23
        first = random.integers(-60, 60, COUNT)
        sign = random.choice([-1.0, 1.0], COUNT)
        a, b = np.ldexp(1 + near[0], first), np.ldexp(sign * (1 + near[1]), unit - 1 - first)
        return np.array([a, b, c]).astype(np.float32)

    with np.errstate(all="ignore"):
        halves = [near_half_way(random.integers(low, high, COUNT))
                  for low, high in ((-126, 128), (-149, -120), (120, 128))]  # fmt: skip
    ends = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-45, 2**-126, 3.4e38, -3.4e38,
                     1 + 2**-23, 1 - 2**-24], np.float32)  # fmt: skip
    every = np.array(np.meshgrid(ends, ends, ends)).reshape(3, -1)[:, : len(ends) ** 3 // 4 * 4]
    return np.ascontiguousarray(np.concatenate([any_bits, usual, *halves, every], axis=1))


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("flags", [(), ("-DLENET_PLAIN_C",)], ids=["vectors", "plain"])
def test_it_rounds_once(compiler, flags):
    """Half a million triples, as the C library's fmaf; rounding twice is wrong for many of them."""
    functions, (a, b, c) = build(compiler, *flags), triples()
    expected = call(functions.library, a, b, c)
    for function in (functions.each, functions.vectors):
        found = call(function, a, b, c)
        np.testing.assert_array_equal(found, expected)
        there = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found)[there], np.signbit(expected)[there])
    with np.errstate(all="ignore"):
        twice = (a.astype(np.float64) * b + c).astype(np.float32)
    assert np.sum((twice != expected) & there) > 12_000


def test_the_c_library_rounds_as_fractions_do():
    """On some of the hardest triples, by exact rational numbers."""
    a, b, c = np.ascontiguousarray(triples()[:, 2 * COUNT :: 97])
    expected = call(build("gcc").library, a, b, c)
    for x, y, z, found in zip(a.tolist(), b.tolist(), c.tolist(), expected.tolist(), strict=True):
        if all(map(math.isfinite, (x, y, z, found))):
            exact = Fraction(x) * Fraction(y) + Fraction(z)
            error = abs(Fraction(found) - exact)
            for other in np.nextafter(np.float32(found), np.float32([-np.inf, np.inf])):
                if np.isfinite(other):
                    assert error <= abs(Fraction(float(other)) - exact)
