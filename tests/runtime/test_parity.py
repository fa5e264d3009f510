"""The comparator: whatever is not equal within the tolerance fails, and a report names it."""

import copy
import dataclasses
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from samples import digits, eager, first_ten, logits, noise

from lenet_runtime.errors import ParityError
from lenet_runtime.parity import (
    BATCH_SIZES,
    TOLERANCES,
    Comparison,
    ParityReport,
    Tolerance,
    check_parity,
    compare,
    parity_batches,
)

FP32 = TOLERANCES["fp32"]
EVEN = Tolerance(0.5, 0.25, 1.0, 1.0)  # exact in binary: no rounding at the limit
MAX = np.finfo(np.float32).max


def zeros(rows=3):
    return np.zeros((rows, 10), np.float32)


def test_equal_logits_pass():
    comparison = compare(logits(), logits(), FP32)
    assert comparison.ok
    assert comparison.reason == ""
    assert comparison.max_abs_diff == comparison.mean_abs_diff == comparison.worst_share == 0
    assert comparison.top1_agreement == 1
    assert comparison.batch_size == 3
    assert comparison.eager_error is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (1, 5), (2, 9)])
def test_a_value_that_is_not_finite_fails_on_either_side_and_on_both(value, place):
    damaged = logits()
    damaged[place] = value
    for found, expected in ((damaged, logits()), (logits(), damaged), (damaged, damaged)):
        comparison = compare(found, expected, FP32)
        assert not comparison.ok
        assert "1 of the 30" in comparison.reason
        assert comparison.max_abs_diff is None


@pytest.mark.parametrize(
    "found",
    [
        logits(1),
        logits(2),
        logits(4),
        logits()[0],
        logits()[:, :9],
        logits().T,
        logits()[None],
        logits().reshape(-1),
        logits(0),
        np.float32(0).reshape(()),
    ],
    ids=lambda found: str(found.shape),
)
def test_another_shape_fails(found):
    """Also one that would broadcast."""
    comparison = compare(found, np.repeat(logits(1), 3, axis=0), FP32)
    assert comparison.reason.startswith("expected shape (3, 10)")


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ">f4", np.int32, object, bool])
def test_another_dtype_fails(dtype):
    comparison = compare(zeros().astype(dtype), zeros(), FP32)
    assert comparison.reason.startswith("expected dtype float32")


def test_nothing_compared_is_no_success():
    assert not compare(logits(0), logits(0), FP32).ok


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("place", [(0, 3), (1, 0), (2, 9)])
def test_the_limit_passes_and_the_next_number_fails(sign, place):
    """What row 1 allows is 0.5 + 0.25 * 8 = 2.5, though its other logits are zero."""
    expected = zeros()
    expected[:, 7] = -8
    expected[:, 5] = 3  # the top by more than what is allowed
    found = expected.copy()
    found[place] += np.float32(2.5 * sign)
    at_limit = compare(found, expected, EVEN)
    assert at_limit.ok
    assert at_limit.worst_share == 1
    found[place] = np.nextafter(found[place], np.float32(sign * np.inf))
    beyond = compare(found, expected, EVEN)
    assert not beyond.ok
    assert f"row {place[0]}, logit {place[1]}: expected 0, found {2.5 * sign:.2g}" in beyond.reason


def test_the_share_is_of_each_rows_own_scale():
    """A difference that a large row may have is too much for a small one."""
    expected = zeros(2)
    expected[:, 0] = 1000, 1
    found = expected.copy()
    found[:, 1] = 1e-3
    assert compare(found[:1], expected[:1], FP32).ok
    assert "row 1, logit 1" in compare(found, expected, FP32).reason


def test_rows_of_zeros_hide_nothing():
    found = zeros(2)
    found[1, 3] = 2e-6
    assert not compare(found, zeros(2), FP32).ok


def test_huge_logits_do_not_overflow():
    expected = np.full((1, 10), MAX, np.float32)
    comparison = compare(-expected, expected, FP32)
    assert not comparison.ok
    assert comparison.max_abs_diff == 2 * float(MAX)


@pytest.mark.parametrize(
    ("rows", "flips", "passes"), [(100, 1, False), (2000, 2, True), (2000, 3, False)]
)
def test_too_many_flips_within_the_tolerance_fail_by_top_1(rows, flips, passes):
    expected = zeros(rows)
    expected[:, :2] = 1, 1 - 1e-7
    found = expected.copy()
    found[:flips, 1] = 1 + 2e-7
    comparison = compare(found, expected, FP32)
    assert comparison.worst_share < 1
    share = comparison.top1_agreement
    assert share == 1 - flips / rows
    reason = f"top-1 agrees in {share:.4%} of rows, expected 99.9000%"
    assert comparison.reason == ("" if passes else reason)


@pytest.mark.parametrize("size", [1e-3, 1e-9, 1e-30])
def test_the_absolute_part_shrinks_with_a_networks_largest_logit(size):
    """1e-6 of logits of 1e-9 would be anything; a row of tiny logits among others keeps it."""
    expected = logits(8)
    expected /= np.abs(expected).max()
    tiny, found = (values * np.float32(size) for values in (expected, expected * (1 + 2.0**-12)))
    assert not compare(found, tiny, FP32).ok
    assert compare(tiny * np.float32(1 + 2.0**-18), tiny, FP32).ok
    row = np.zeros((1, 10), np.float32)
    assert compare(row + np.float32(9e-7), row, FP32, scale=12).ok
    assert not compare(row + np.float32(9e-7), row, FP32, scale=size).ok
    assert compare(row, row, FP32).ok


def test_eagers_own_error_is_measured_against_the_exact_answer():
    comparison = compare(logits(), logits(), FP32, exact=logits().astype(np.float64) + 0.25)
    assert comparison.eager_error == 0.25
    assert comparison.eager_multiple == 0
    assert compare(logits(), logits(), FP32).eager_multiple is None
    exact = logits().astype(np.float64)
    assert compare(logits(), logits(), FP32, exact=exact).eager_multiple is None


ARRAYS = hnp.arrays(np.float32, st.tuples(st.integers(0, 4), st.just(10)))
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(ARRAYS, ARRAYS)
def test_a_pass_means_what_it_says(found, expected):
    """Against a definition written the slow way."""
    comparison = compare(found, expected, EVEN)
    if not comparison.ok:
        return
    assert found.shape == expected.shape
    assert len(expected)
    for row, other in zip(found.tolist(), expected.tolist(), strict=True):
        allowed = 0.5 + 0.25 * max(map(abs, other))
        assert all(abs(a - b) <= allowed for a, b in zip(row, other, strict=True))
        assert row.index(max(row)) == other.index(max(other))


@given(hnp.arrays(np.float32, (3, 10), elements=FINITE))
def test_every_finite_answer_equals_itself(values):
    assert compare(values, values.copy(), FP32).ok


@pytest.mark.parametrize(
    "numbers",
    [
        *((atol, 0, 1) for atol in (0, -1, nan, inf)),
        *((1, rtol, 1) for rtol in (-1, nan, inf)),
        *((1, 0, share) for share in (-0.1, 1.1, nan)),
    ],
)
def test_a_tolerance_that_lets_everything_pass_cannot_be_made(numbers):
    with pytest.raises(ValueError, match="expected 0 < atol"):
        Tolerance(*numbers, 1)
    with pytest.raises(ValueError, match="expected 0 < atol"):
        Tolerance(*numbers[:2], 1, numbers[2] if numbers[2] != 1 else 2)


def test_noise_is_judged_by_its_own_share_of_top1():
    """A batch of one noise image whose answer flips fails in fp32 alone, if its values hold."""
    expected, found = zeros(1), zeros(1)
    expected[0, [3, 7]], found[0, [3, 7]] = (2.0, 1.95), (1.95, 2.0)
    loose = Tolerance(0.5, 0, 1, 0)
    assert compare(found, expected, loose, inputs="random").ok
    assert "top-1" in compare(found, expected, loose, inputs="digits").reason
    assert "top-1" in compare(found, expected, Tolerance(0.5, 0, 1, 1), inputs="random").reason


def test_the_table_is_sane():
    """Wide enough for two roundings of float32, narrow enough to see a lost bias."""
    assert "fp32" in TOLERANCES
    unit = 2.0**-24
    assert 40 * unit <= FP32.rtol <= 256 * unit
    assert FP32.atol <= 1e-5
    assert all(tolerance.min_top1 >= 0.98 for tolerance in TOLERANCES.values())
    assert TOLERANCES["fp32"].min_top1_noise >= 0.99


def test_a_wrong_weight_is_far_beyond_the_tolerance(net):
    """One weight of 61,000, off by a thousandth of its layer's scale."""
    other = copy.deepcopy(net).requires_grad_(False)
    other.conv1.weight[0, 0, 1, 1] += 0.001 * other.conv1.weight.abs().max()
    assert not compare(eager(other, digits()), eager(net, digits()), FP32).ok


# Reports.

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


# ---- networks that end in softmax or log_softmax


def _softmax(logits):
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("output", ["probabilities", "log_probabilities"])
def test_probabilities_are_as_strict_as_logits(output):
    """A logit that is off in a digit's saturated row shows, and rounding passes."""
    wide = np.random.default_rng(0).normal(0, 8, (50, 10))
    fault = wide.copy()
    fault[7, wide[7].argmin()] += 0.01  # a probability of 1e-10 or so
    rows = [_softmax(values).astype(np.float32) for values in (wide, wide + 1e-6, fault)]
    if output == "log_probabilities":
        rows = [np.log(_softmax(v)).astype(np.float32) for v in (wide, wide + 1e-6, fault)]
    expected, rounded, wrong = rows
    assert compare(rounded, expected, TOLERANCES["fp32"], output=output).ok
    found = compare(wrong, expected, TOLERANCES["fp32"], output=output)
    assert "row 7" in found.reason
    assert found.max_abs_diff == pytest.approx(0.01, rel=0.05)


def test_probabilities_of_zero_are_equal_and_those_below_are_refused():
    expected = np.array([[1, 0, 0]], np.float32)
    below = np.array([[1, -1e-20, 0]], np.float32)
    least = np.array([[1, 1e-40, 0]], np.float32)
    tolerance = TOLERANCES["fp32"]
    assert compare(least, expected, tolerance, output="probabilities").ok
    assert "finite" in compare(below, expected, tolerance, output="probabilities").reason
