"""The generated C: every instruction set answers as eager PyTorch does and touches nothing else."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from native_c import COMPILERS, LEVELS, levels_here, library, need_level
from samples import digits, eager, noise

from lenet_export.network.reference import Reference
from lenet_runtime.parity import TOLERANCES, check_parity, compare, parity_batches

STEP = 7
SIZES = (1, 2, 3, 7, 31, 32, 33, 64, 257)


@pytest.fixture(scope="module")
def reference(net):
    return Reference(net)


@pytest.fixture(scope="module", params=LEVELS)
def level(request):
    need_level(request.param)
    return request.param


@pytest.fixture(scope="module", params=COMPILERS)
def native(request, net, level):
    """The bundled network from each compiler, for each level."""
    return library(net, request.param, level)


@functools.cache
def answers(net, data):
    """Eager's answers to images in one batch, and to every seventh of them alone."""
    images = np.frombuffer(data, np.float32).reshape(-1, 1, 32, 32).copy()
    alone = [eager(net, images[i : i + 1]) for i in range(0, len(images), STEP)]
    return eager(net, images), np.concatenate(alone)


def kinds(logits):
    """1 where NaN, 2 where infinite, 3 where negative infinite, else 0."""
    tests = [np.isnan(logits), np.isposinf(logits), np.isneginf(logits)]
    return np.select(tests, [1, 2, 3])


# ---- the answers


def test_it_runs_the_kernels_that_it_was_generated_for(native, level):
    assert native.isa == level


def test_parity_with_eager(native, reference, level):
    batches = parity_batches(digits(), SIZES)
    report = check_parity(native.run, reference.eager, reference.exact, batches, "fp32")
    report.require(level)
    assert len(report.comparisons) == 2 * len(SIZES)


def test_compilers_and_levels_answer_alike_to_the_bit(net, level):
    """A fleet of many kinds of CPUs gives one answer; without FMA it is computed in double."""
    images = np.concatenate([noise(70), digits()])
    images[:4, 0, 7, 7] = np.inf, np.nan, 1e30, 1e-40
    images[4] *= np.float32(1e-38)
    expected = library(net, COMPILERS[0], levels_here()[0]).run(images)
    for compiler in COMPILERS:
        np.testing.assert_array_equal(library(net, compiler, level).run(images), expected)


def test_an_image_has_the_same_logits_wherever_it_stands(native):
    """Alone, in pairs, permuted, padded with others and at any place of a chunk of 32."""
    images = noise(70)
    expected = native.run(images)
    order = np.random.default_rng(1).permutation(70)
    np.testing.assert_array_equal(native.run(images[order]), expected[order])
    for size in (1, 2, 3, 31, 33):
        parts = [native.run(images[i : i + size]) for i in range(0, 70, size)]
        np.testing.assert_array_equal(np.concatenate(parts), expected)
    for place in range(33):
        around = np.concatenate([noise(place, seed=2), images[:1], noise(2, seed=3)])
        np.testing.assert_array_equal(native.run(around)[place], expected[0])


# ---- pixels that are not finite, or huge


@pytest.mark.parametrize("pixel", [np.nan, np.inf, -np.inf, 1e30, -3e38])
def test_odd_pixels_propagate_as_in_eager(native, net, pixel):
    """At every pixel of an image: the same logits are NaN and infinite; others are as close.

    Near the end of float32 the order of a sum decides whether it overflows, and eager's order
    depends on the batch; so only those images count that eager answers alike, alone and not.
    """
    images = np.repeat(noise(1), 1024, axis=0)
    images.reshape(1024, 1024)[np.diag_indices(1024)] = pixel
    found, (expected, alone) = native.run(images), answers(net, images.tobytes())
    settled = (kinds(alone) == kinds(expected[::STEP])).all(axis=1)
    assert settled.mean() > 0.4
    np.testing.assert_array_equal(kinds(found)[::STEP][settled], kinds(expected)[::STEP][settled])
    finite = np.isfinite(expected).all(axis=1) & np.isfinite(found).all(axis=1)
    if finite.any():
        report = compare(found[finite], expected[finite], TOLERANCES["fp32"])
        assert report.ok, report.reason


@pytest.mark.parametrize("exponent", [-140, -60, 40, 63, 64, 65, 100])
def test_images_of_any_magnitude(native, reference, exponent):
    """Those of 2^64 and more go another way, which must answer alike."""
    images = np.concatenate([noise(10), digits()[:10]]) * np.float32(2) ** exponent
    report = compare(native.run(images), reference.eager(images), TOLERANCES["fp32"])
    assert report.ok, report.reason


@pytest.mark.parametrize("batch", [1, 2, 3, 40])
def test_an_odd_image_does_not_disturb_its_neighbours(native, batch):
    images = noise(batch + 2)
    expected = native.run(images)
    images[1:-1:3] = np.nan
    found = native.run(images)
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), np.isnan(images).all(axis=(1, 2, 3)))
    calm = ~np.isnan(images).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(found[calm], expected[calm])


def test_all_finite_sees_every_pixel(native):
    images = noise(2)
    assert native.all_finite(images) == 1
    for place in range(2048):
        for pixel in (np.nan, np.inf, -np.inf):
            odd = images.copy()
            odd.flat[place] = pixel
            assert native.all_finite(odd) == 0, (place, pixel)
    largest = np.finfo(np.float32).max
    for pixel in (largest, -largest, np.finfo(np.float32).smallest_subnormal, -0.0):
        assert native.all_finite(np.full((1, 1, 32, 32), pixel, np.float32)) == 1
    assert native.all_finite(noise(1)[:0]) == 1


# ---- memory and threads


def test_nothing_needs_alignment(native):
    images = noise(32)  # a whole chunk, which fills the workspace to its end
    expected = native.run(images)
    for shift in range(1, 64):
        room = np.empty(images.size + shift, np.float32)
        room[shift:] = images.ravel()
        found = native.run(room[shift:].reshape(images.shape), shift)
        np.testing.assert_array_equal(found, expected)


def test_null_is_an_error_and_nothing_is_written(native):
    images, logits = noise(1), np.full((1, 10), 7, np.float32)
    workspace = np.zeros(native.c.lenet_workspace_size(), np.uint8)
    given = [images, logits, workspace]
    for missing in range(3):
        images, logits, workspace = (None if i == missing else a for i, a in enumerate(given))
        assert native.call(images, logits, 1, workspace) == 1
    assert np.all(given[1] == 7)
    assert not given[2].any()
    assert native.call(None, None, 0, None) == 0


def test_threads_with_a_workspace_each_answer_alike(native):
    batches = [noise(40 + i, seed=i) for i in range(8)]
    expected = [native.run(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:  # ctypes lets go of the lock
        for _ in range(5):
            for found, wanted in zip(pool.map(native.run, batches), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
