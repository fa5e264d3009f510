"""from_logits: a stable softmax, and a ranking without ambiguity."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lenet_runtime.errors import ArtifactError, InputError
from lenet_runtime.images.prediction import from_logits

LABELS = tuple("0123456789")
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


def logits(*rows):
    return np.array(rows, np.float32).reshape(len(rows), 10)


def zeros(*shape):
    return np.zeros(shape, np.float32)


def test_shapes_and_dtypes():
    for count in (4, 0):
        prediction = from_logits(zeros(count, 10), LABELS, 3)
        assert len(prediction) == count
        assert (prediction.labels.shape, prediction.labels.dtype) == ((count,), np.int64)
        assert (prediction.top_k.shape, prediction.top_k.dtype) == ((count, 3), np.int64)
        probabilities = prediction.probabilities
        assert (probabilities.shape, probabilities.dtype) == ((count, 10), np.float32)


def test_softmax_equals_torchs():
    import torch

    values = np.random.default_rng(0).normal(0, 8, (100, 10)).astype(np.float32)
    expected = torch.from_numpy(values).double().softmax(1).float().numpy()
    np.testing.assert_array_max_ulp(from_logits(values, LABELS, 1).probabilities, expected, 1)


def test_huge_logits_neither_overflow_nor_vanish():
    row = [3e38, -3e38, 3e38] + [0] * 7
    prediction = from_logits(logits(row), LABELS, 2)
    np.testing.assert_array_equal(prediction.probabilities[0, :3], [0.5, 0, 0.5])


def test_ties_go_to_the_lower_class():
    prediction = from_logits(logits([1, 5, 5, 0, 5, 1, 0, 0, 0, 0]), LABELS, 5)
    assert prediction.top_k.tolist() == [[1, 2, 4, 0, 5]]
    assert prediction.labels.tolist() == [1]


def test_ranking_survives_probabilities_that_underflow():
    prediction = from_logits(logits([1000, -2, 3, 2, 1, 0, 0, 0, 0, 0]), LABELS, 4)
    assert prediction.top_k.tolist() == [[0, 2, 3, 4]]


def test_top_names_classes():
    prediction = from_logits(logits([0, 0, 9, 0, 0, 0, 0, 0, 0, 8]), tuple("abcdefghij"), 2)
    names, probabilities = zip(*prediction.top(0), strict=True)
    assert names == ("c", "j")
    assert list(probabilities) == prediction.probabilities[0, [2, 9]].tolist()


@pytest.mark.parametrize("k", [0, -1, 11, 1.0, "3", None, True])
def test_k_outside_1_to_10_is_an_input_error(k):
    with pytest.raises(InputError, match="top_k: expected an integer from 1 to 10, found"):
        from_logits(zeros(1, 10), LABELS, k)


def test_numpy_integers_are_integers():
    assert from_logits(zeros(1, 10), LABELS, np.int64(2)).top_k.shape == (1, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_not_believed(bad):
    values = zeros(3, 10)
    values[1, 4] = bad
    with pytest.raises(ArtifactError, match=r"logits\[1\]: expected finite"):
        from_logits(values, LABELS, 3)


@pytest.mark.parametrize("shape", [(10,), (2, 9), (1, 2, 10)])
def test_another_shape_than_one_logit_a_class_is_refused(shape):
    with pytest.raises(ArtifactError, match=r"expected shape \(N, 10\)"):
        from_logits(zeros(*shape), LABELS, 3)


def test_it_is_frozen():
    prediction = from_logits(zeros(1, 10), LABELS, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        prediction.labels = prediction.labels  # type: ignore[misc]


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 4), st.just(10)), elements=FINITE),
    st.integers(1, 10),
)
def test_probabilities_sum_to_1_and_the_ranking_descends(values, k):
    prediction = from_logits(values, LABELS, k)
    np.testing.assert_allclose(prediction.probabilities.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(prediction.labels, values.argmax(1))
    np.testing.assert_array_equal(prediction.top_k[:, 0], prediction.labels)
    ranked = np.take_along_axis(prediction.probabilities, prediction.top_k, 1)
    assert (np.diff(ranked, axis=1) <= 0).all()
    assert all(len(set(row)) == k for row in prediction.top_k.tolist())


def test_an_item_is_of_pythons_own_types_for_json():
    """`json.dumps` refuses NumPy's numbers."""
    values = logits([0, 0, 9, 0, 0, 0, 0, 0, 0, 8], [1] + [0] * 9)
    prediction = from_logits(values, tuple("abcdefghij"), np.int64(2), ((), ("several shapes",)))
    first, second = json.loads(json.dumps(prediction.to_dict()))
    (c, p), (j, q) = prediction.top(0)
    assert first == {
        "label": "c",
        "probability": p,
        "top": [{"label": c, "probability": p}, {"label": j, "probability": q}],
        "warnings": [],
    }
    assert second["warnings"] == ["several shapes"]
    assert [first, second] == list(prediction) == json.loads(prediction.to_json())
    assert prediction[np.int64(-1)] == second


def test_arrays_are_not_looked_at_so_an_item_has_no_warnings():
    prediction = from_logits(zeros(2, 10), LABELS)
    assert [answer["warnings"] for answer in prediction] == [[], []]
    assert len(prediction[0]["top"]) == 3
    assert from_logits(zeros(0, 10), LABELS).to_json() == "[]"


def test_an_item_that_is_not_there_is_an_index_error():
    prediction = from_logits(zeros(2, 10), LABELS)
    for index in (2, -3):
        with pytest.raises(IndexError):
            prediction[index]
