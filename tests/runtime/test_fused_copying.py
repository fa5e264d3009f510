"""How large batches get to pinned memory: one pass that copies and checks, in several threads."""

import threading

import numpy as np
import pytest

from lenet_runtime.backends.fused import copying
from lenet_runtime.backends.fused.copying import Copier

BLOCK = 5000  # values; no whole number of images


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "lenet-worker"]


@pytest.fixture(autouse=True)
def small_shares(monkeypatch):
    """Batches of a few images have several shares, and each of these several blocks."""
    monkeypatch.setattr(copying, "LEAST", 4)
    monkeypatch.setattr(copying, "_BLOCK", BLOCK)


def images_of(count, shape=(1, 32, 32)):
    return np.random.default_rng(count).standard_normal((count, *shape), np.float32)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 33, 100])
def test_every_value_is_copied(count, threads):
    images = images_of(count)
    target = np.zeros_like(images)
    assert Copier(threads).copy(target, images) is True
    assert np.array_equal(target, images)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_found_wherever_it_is(bad, threads):
    copier, images = Copier(threads), images_of(35)
    target, flat = np.empty_like(images), images.reshape(-1)
    for place in (0, BLOCK - 1, BLOCK, 18 * 1024, len(flat) - BLOCK, len(flat) - 1):
        value, flat[place] = flat[place], bad
        assert copier.copy(target, images) is False, place
        flat[place] = value
    assert copier.copy(target, images)


NAN_BITS = [0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0xFF800001, 0xFFC00000, 0xFFFFFFFF]


def test_every_finite_value_is_one_and_every_nan_is_none():
    largest, least = np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal
    images = images_of(10)
    images.flat[:7] = 0.0, -0.0, largest, -largest, least, -least, 1e30
    target = np.empty_like(images)
    with np.errstate(all="raise"):
        assert Copier(1).copy(target, images)
        for bits in NAN_BITS:
            images.view(np.uint32)[5, 0, 3, 4] = bits
            assert not Copier(1).copy(target, images), hex(bits)


def test_images_of_any_shape_are_copied():
    images = images_of(50, (3, 5, 7))
    target = np.empty_like(images)
    assert Copier(2).copy(target, images)
    assert np.array_equal(target, images)


def test_threads_start_with_the_first_large_batch_and_end_with_the_copier():
    before = set(workers())
    copier = Copier(3)
    copier.copy(*[images_of(7)] * 2)
    assert set(workers()) <= before
    for _ in range(2):
        copier.copy(*[images_of(8)] * 2)
        started = set(workers()) - before
        assert len(started) == 2
    del copier
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()


def test_where_no_thread_starts_the_calling_one_copies(monkeypatch):
    def refuse(count):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(copying, "Workers", refuse)
    images = images_of(20)
    target = np.zeros_like(images)
    assert Copier(3).copy(target, images)
    assert np.array_equal(target, images)
