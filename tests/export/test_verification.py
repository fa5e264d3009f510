"""`verify` finds what is wrong, says exactly that, and finds nothing in what is right."""

import copy
import json

import numpy as np
import pytest
import torch
from function_engines import CHANGES, changes, swap_top_two
from samples import digits

import lenet_export
import lenet_runtime
from lenet_export.network import weights
from lenet_export.network.reference import Reference
from lenet_runtime.errors import ArtifactError, DeployError, InputError, ParityError
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch
from lenet_runtime.parity import TOLERANCES

SIZES = (1, 7)


# ---- what is right


def test_a_good_artifact_is_found_good(onnx_artifact, net):
    with lenet_runtime.load(onnx_artifact.path) as session:
        report = lenet_export.verify(session, net)
    assert report.ok
    assert report.failures == []
    assert report.require("it") is None
    assert {c.batch_size for c in report.parity.comparisons} == {1, 2, 7, 64, 257}
    assert tuple(changes(report)) == CHANGES
    data_set = report.data_set
    assert (data_set.name, data_set.comparison.batch_size) == ("bundled digits", 60)
    assert data_set.flips == ()
    assert data_set.accuracy == data_set.eager_accuracy


def test_a_perfect_engine_is_zero_off_and_the_same_to_the_bit(session_of, net, eager):
    """`eager` itself is batch invariant on small batches only as far as its kernels are."""
    report = lenet_export.verify(session_of(eager), net, batch_sizes=SIZES)
    assert report.ok
    assert {c.max_abs_diff for c in report.parity.comparisons} == {0.0}
    assert report.data_set.comparison.worst_share == 0


def test_the_report_is_strict_json(session_of, net, eager):
    report = lenet_export.verify(session_of(eager), net, batch_sizes=SIZES)
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["ok"] is True
    assert document["failures"] == []
    first = document["parity"]["comparisons"][0]
    assert first["eager_multiple"] == 0
    assert first["inputs"] == "random"
    assert document["data_set"]["name"] == "bundled digits"
    assert [i["change"] for i in document["invariance"]] == list(CHANGES)


def test_the_seed_changes_the_noise(session_of, net, eager):
    def errors(seed):
        report = lenet_export.verify(session_of(eager), net, batch_sizes=[2], seed=seed)
        return [c.eager_error for c in report.parity.comparisons]

    assert errors(0) == errors(0)
    assert errors(0)[0] != errors(1)[0]
    assert errors(0)[1] == errors(1)[1]  # digits are digits


# ---- arguments


def test_the_same_weights_with_another_end_are_refused(tmp_path, net):
    """They have the fingerprint that the manifest wants, and answer something else."""
    softened = torch.nn.Sequential(net, torch.nn.LogSoftmax(1))
    artifact = lenet_export.export(softened, "onnx", tmp_path / "a", batch_sizes=[1])
    bare = torch.nn.Sequential(net, torch.nn.Identity())
    with (
        lenet_runtime.load(artifact) as session,
        pytest.raises(ArtifactError, match="expected a module that answers log_probabilities"),
    ):
        lenet_export.verify(session, bare)


def test_other_weights_are_refused(onnx_artifact, net):
    """One weight by one unit in its last place is another network."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.fc1.bias[0] = torch.nextafter(other.fc1.bias[0], torch.tensor(9.0))
    with (
        lenet_runtime.load(onnx_artifact.path) as session,
        pytest.raises(ArtifactError, match="expected the weights it was exported from") as caught,
    ):
        lenet_export.verify(session, other)
    assert weights.fingerprint(net) in str(caught.value)
    assert weights.fingerprint(other) in str(caught.value)


@pytest.mark.parametrize("sizes", [(), (0,), (1, -2), (1.0,), ("7",)])
def test_batch_sizes_are_checked(session_of, net, eager, sizes):
    with pytest.raises(InputError, match="batch sizes: expected positive integers"):
        lenet_export.verify(session_of(eager), net, batch_sizes=sizes)


@pytest.mark.parametrize(("images", "labels"), [(0, 0), (2, 1), (1, 2)])
def test_a_data_set_without_a_label_for_each_image_is_refused(
    session_of, net, eager, images, labels
):
    data_set = ("mine", np.zeros((images, 28, 28), np.uint8), np.zeros(labels, np.uint8))
    with pytest.raises(InputError, match=f"mine: found {images} images and {labels} labels"):
        lenet_export.verify(session_of(eager), net, data_set=data_set)


def test_a_closed_session_is_refused(session_of, net, eager):
    session = session_of(eager)
    session.close()
    with pytest.raises(DeployError, match="closed"):
        lenet_export.verify(session, net)


@pytest.mark.parametrize("index", [0, 59])
def test_a_flip_is_listed_with_its_margin(session_of, net, eager, index):
    images, labels = digits(), load_digits().labels
    report = lenet_export.verify(
        session_of(swap_top_two(eager, images[index])), net, batch_sizes=[1]
    )
    logits = eager(images)[index]
    first, second = np.argsort(logits)[[-1, -2]]
    (flip,) = report.data_set.flips
    assert (flip.index, flip.label) == (index, labels[index])
    assert (flip.eager, flip.found) == (first, second)
    assert flip.margin == pytest.approx(logits[first] - logits[second], rel=1e-6)
    assert not report.ok
    assert any(line.startswith(f"bundled digits: row {index}, ") for line in report.failures)
    with pytest.raises(ParityError, match=r"it differs from eager PyTorch; .*bundled digits: row"):
        report.require("it")


def test_accuracy_counts_right_answers(session_of, net, eager):
    """Of a network that is right in every digit, one flip costs a sixtieth."""
    images = digits()
    labels = eager(images).argmax(axis=1)
    report = lenet_export.verify(
        session_of(swap_top_two(eager, images[5])), net, batch_sizes=[1],
        data_set=("as eager says", load_digits().images, labels),
    )  # fmt: skip
    assert report.data_set.eager_accuracy == 1
    assert report.data_set.accuracy == 59 / 60


@pytest.fixture
def torn(net):
    """A network that cannot decide between two classes: their logits differ in the last bits."""
    torn = copy.deepcopy(net)
    with torch.no_grad():
        torn.fc3.weight[8] = torn.fc3.weight[3]
        torn.fc3.bias[3] = 100.0
        torn.fc3.bias[8] = torch.nextafter(torn.fc3.bias[3], torch.tensor(0.0))
    return torn


@pytest.mark.parametrize(("count", "ok"), [(60, False), (1200, True)])
def test_a_flip_within_the_tolerance_is_listed_and_judged_by_its_share(session_of, torn, count, ok):
    """One answer in sixty is too many, one in 1,200 is not; both are shown."""
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)
    answer = Reference(torn).eager
    logits = answer(to_batch(images, Preprocessing()))
    index = int(np.flatnonzero(logits[:, 3] > logits[:, 8])[0])
    session = session_of(
        swap_top_two(answer, to_batch(images[index : index + 1], Preprocessing())),
        weights_sha256=weights.fingerprint(torn),
    )
    report = lenet_export.verify(
        session, torn, batch_sizes=[1], data_set=("noise", images, np.zeros(count, np.uint8))
    )
    (flip,) = report.data_set.flips
    assert (flip.index, flip.eager, flip.found) == (index, 3, 8)
    assert 0 < flip.margin < 1e-4
    assert report.data_set.comparison.worst_share < 1
    assert report.ok == ok
    assert ok or "top-1 agrees in 98.3333% of rows" in report.failures[0]


# ---- answers that cannot be compared


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_not_finite_fails_and_is_still_json(session_of, net, eager, value):
    def run(images):
        logits = eager(images).copy()
        logits[-1, 4] = value
        return logits

    report = lenet_export.verify(session_of(run), net, batch_sizes=[2])
    assert "found logits are not finite" in report.failures[0]
    assert len(report.failures) == 2 + 1 + len(CHANGES)
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["parity"]["comparisons"][0]["max_abs_diff"] is None


def test_answers_of_another_dtype_fail(session_of, net, eager):
    report = lenet_export.verify(
        session_of(lambda images: eager(images).astype(np.float64)), net, batch_sizes=[2]
    )
    assert "expected dtype float32, found float64" in report.failures[0]


def test_the_tolerance_is_the_table(session_of, net, eager):
    report = lenet_export.verify(session_of(eager), net, batch_sizes=[1])
    assert report.parity.tolerance == TOLERANCES["fp32"]
