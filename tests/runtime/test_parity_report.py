"""The report of a parity check: every batch is in it, and it names every failure."""

import dataclasses

import numpy as np
import pytest
from samples import first_ten, logits, noise

from lenet_runtime.errors import ParityError
from lenet_runtime.parity import (
    BATCH_SIZES,
    TOLERANCES,
    Comparison,
    ParityReport,
    check_parity,
    compare,
    parity_batches,
)

FP32 = TOLERANCES["fp32"]
PASSED = compare(logits(), logits(), FP32, inputs="digits")
FAILED = compare(-logits(7), logits(7), FP32, inputs="random")


def test_a_report_names_every_failure():
    shape = compare(logits(2), logits(), FP32, inputs="digits")
    report = ParityReport("fp32", FP32, (PASSED, FAILED, shape))
    assert not report.ok
    with pytest.raises(ParityError) as caught:
        report.require("onnx on ort-cpu")
    message = str(caught.value)
    assert message.startswith("onnx on ort-cpu differs from its reference; random at batch size 7:")
    assert "; digits at batch size 3: expected shape (3, 10)" in message
    assert message.count("batch size") == 2


def test_a_report_passes_if_all_do_and_there_are_some():
    ParityReport("fp32", FP32, (PASSED, PASSED)).require("onnx")
    report = ParityReport("fp32", FP32, ())
    assert not report.ok
    with pytest.raises(ParityError, match="onnx was not compared"):
        report.require("onnx")


def test_a_comparison_has_one_truth():
    """What failed cannot be passed off by its numbers."""
    assert Comparison("digits", 1, 0.0, 0.0, 0.0, 1.0, 0.0, "broken").ok is False
    with pytest.raises(dataclasses.FrozenInstanceError):
        FAILED.reason = ""


def exact(images):
    return first_ten(images).astype(np.float64)


def test_every_batch_is_compared():
    batches = parity_batches(noise(60), BATCH_SIZES)
    report = check_parity(first_ten, first_ten, exact, batches, "fp32")
    assert report.ok
    assert [(c.inputs, c.batch_size) for c in report.comparisons] == [
        (kind, size) for size in BATCH_SIZES for kind in ("random", "digits")
    ]


def test_an_engine_that_is_wrong_in_one_row_of_one_batch_fails():
    def off(images):
        logits = first_ten(images).copy()
        logits[-1, 4] += len(images) == 64
        return logits

    batches = parity_batches(noise(60), BATCH_SIZES)
    report = check_parity(off, first_ten, exact, batches, "fp32")
    assert [c.batch_size for c in report.comparisons if not c.ok] == [64, 64]


def test_batches_are_whole_repeatable_and_not_all_alike():
    distinct = np.arange(60 * 1024, dtype=np.float32).reshape(60, 1, 32, 32)
    first, second = (list(parity_batches(distinct, (1, 7, 257))) for _ in range(2))
    for (name, images), (_, same) in zip(first, second, strict=True):
        assert images.shape[1:] == (1, 32, 32)
        assert images.dtype == np.float32
        assert images.flags.c_contiguous
        np.testing.assert_array_equal(images, same)
        if name == "digits":
            np.testing.assert_array_equal(images[-1], distinct[(len(images) - 1) % 60])
    other = next(iter(parity_batches(distinct, (1,), seed=1)))[1]
    assert not np.array_equal(other, first[0][1])
