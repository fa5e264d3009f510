"""`verify` finds answers that depend on the batch, and takes static artifacts at their own size."""

import numpy as np
import pytest
from function_engines import CHANGES, changes, swap_top_two
from samples import digits

import lenet_export
from lenet_runtime.artifact import IMAGES, LOGITS, TensorSpec


def static(size):
    """The manifest's fields of a static artifact."""
    inputs = TensorSpec(IMAGES, "float32", (size, 1, 32, 32))
    return {"inputs": (inputs,), "outputs": (TensorSpec(LOGITS, "float32", (size, 10)),)}


# ---- batch invariance


def by_row(eager, off):
    """Adds to each row by its place."""
    return lambda x: eager(x) + off * np.arange(len(x), dtype=np.float32)[:, None]


def by_size(eager, off):
    """Adds to the answers of larger batches."""
    return lambda x: eager(x) + np.float32(off if len(x) > 60 else 0)


def alone(eager, off):
    """Adds to an image that comes alone, as a kernel for matrix times vector would."""
    return lambda x: eager(x) + np.float32(off if len(x) == 1 else 0)


def by_neighbours(eager, off):
    """Adds what depends on the rest of the batch, as batch normalisation in training mode does."""
    return lambda x: eager(x) + np.float32(off) * x.mean(dtype=np.float32)


@pytest.mark.parametrize(
    ("engine", "found"),
    [
        (by_row, ["permuted", "filled with one image", "duplicated", CHANGES[-1]]),
        (by_size, ["duplicated", "padded with black"]),
        (alone, ["taken apart, one image at a time"]),
        (by_neighbours, ["filled with one image", "padded with black", CHANGES[-1]]),
    ],
)
def test_dependence_on_the_batch_is_found(session_of, net, eager, engine, found):
    report = lenet_export.verify(session_of(engine(eager, 0.5)), net, batch_sizes=[7])
    failed = [i.change for i in report.invariance if not i.comparison.ok]
    assert failed == found
    assert not any(i.bitwise for i in report.invariance if not i.comparison.ok)
    assert {f"batch {change}" for change in found} == {
        line.split(":")[0] for line in report.failures if line.startswith("batch ")
    }
    assert not report.ok


def test_a_last_bit_is_no_failure_but_is_told(session_of, net, eager):
    """Between bitwise equal and wrong lies the tolerance."""

    def run(images):
        logits = eager(np.concatenate([images, images]))[: len(images)]
        return np.nextafter(logits, np.float32(9)) if len(images) == 1 else logits

    report = lenet_export.verify(session_of(run), net, batch_sizes=[7])
    assert report.ok
    assert CHANGES[-1] not in changes(report, bitwise=True)


# ---- static batches


@pytest.mark.parametrize("size", [1, 7, 64, 100])
def test_a_static_artifact_is_tried_at_its_own_size_alone(session_of, net, eager, size):
    seen = set()

    def run(images):
        seen.add(len(images))
        return eager(images)

    session = session_of(run, **static(size))
    report = lenet_export.verify(session, net, batch_sizes=(1, 2, 3))
    assert seen == {size}
    assert report.ok
    assert {c.batch_size for c in report.parity.comparisons} == {size}
    assert report.data_set.comparison.batch_size == 60
    assert changes(report) == ([] if size == 1 else ["permuted", "filled with one image"])


def test_a_static_artifact_that_mixes_up_rows_is_found(session_of, net, eager):
    session = session_of(by_row(eager, 0.5), **static(7))
    report = lenet_export.verify(session, net)
    assert [i.change for i in report.invariance if not i.comparison.ok] == [
        "permuted", "filled with one image",
    ]  # fmt: skip


def test_a_static_artifacts_filled_up_batch_keeps_its_own_rows(session_of, net, eager):
    """Sixty digits in batches of 7: the last has 4 and three black ones, which do not count."""
    images = digits()
    session = session_of(swap_top_two(eager, images[59]), **static(7))
    report = lenet_export.verify(session, net)
    assert [flip.index for flip in report.data_set.flips] == [59]
