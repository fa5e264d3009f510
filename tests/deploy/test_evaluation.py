"""Evaluation counts right, says how sure it is, and judges any function from NumPy to NumPy."""

import io
import json
import math
import re
import sys

import numpy as np
import pytest
import torch
from cli_helper import run
from rich.console import Console

from lenet_deploy.training import curves, evaluation
from lenet_deploy.training.checkpoint import read_checkpoint, save_checkpoint
from lenet_deploy.training.data import Split
from lenet_deploy.training.model import Net
from lenet_runtime.errors import DeployError
from lenet_runtime.images.preprocess import Preprocessing

PNG = b"\x89PNG\r\n\x1a\n"


def judge(answers, labels, batch_size=2, scale=1):
    """The evaluation of a network that answers the first pixel of an image."""
    images = torch.zeros(len(answers), 28, 28, dtype=torch.uint8)
    images[:, 0, 0] = torch.tensor(answers)
    net = Net()
    net.forward = lambda x: scale * torch.eye(10)[(x[:, 0, 2, 2] * 255).round().long()]
    split = Split(images, torch.tensor(labels, dtype=torch.int64))
    return evaluation.evaluate(net, split, Preprocessing(0, 1), batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 9])
def test_confusion_has_the_true_digit_by_row_and_the_predicted_by_column(batch_size):
    result = judge([1, 2, 3], [1, 7, 3], batch_size)
    expected = np.zeros((10, 10), int)
    expected[1, 1] = expected[7, 2] = expected[3, 3] = 1
    assert (result.confusion == expected).all()
    assert (result.correct, result.total, result.accuracy) == (2, 3, 2 / 3)
    assert result.recall[1] == 1
    assert result.recall[7] == 0
    assert result.recall[0] is None


def test_each_mistake_has_its_index_label_answer_and_probabilities():
    for batch_size in (1, 2, 5):
        result = judge([1, 2, 3, 0], [1, 7, 3, 9], batch_size, scale=2)
        assert [(m.index, m.label, m.answer) for m in result.mistakes] == [(1, 7, 2), (3, 9, 0)]
        sure = math.e**2 / (math.e**2 + 9)
        assert result.mistakes[0].probability == pytest.approx(sure)
        assert result.mistakes[0].of_label == pytest.approx(sure / math.e**2)
    assert judge([1], [1]).mistakes == ()


@pytest.mark.parametrize("ending", ["softmax", "log_softmax"])
def test_a_network_that_ends_in_softmax_says_the_probabilities_itself(ending):
    logits = torch.tensor([[0.0, 3.0, *[1.0] * 8], [2.0, 0.0, *[1.0] * 8]])
    labels = torch.tensor([0, 1])
    plain = list(evaluation._mistakes(logits, labels, first=0))
    ended = list(evaluation._mistakes(getattr(logits, ending)(dim=1), labels, first=0))
    assert [m.probability for m in ended] == pytest.approx([m.probability for m in plain])
    assert [m.of_label for m in ended] == pytest.approx([m.of_label for m in plain])


def test_no_digits_and_answers_that_are_not_finite_are_errors():
    with pytest.raises(DeployError, match="expected at least one digit"):
        judge([], [])
    with pytest.raises(DeployError, match="found NaN or infinity"):
        judge([1], [1], scale=float("inf"))  # infinity times 0 is NaN


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_against_published_values(correct, total, low, high):
    interval = evaluation.wilson_interval(correct, total)
    assert interval == pytest.approx((low, high), abs=5e-5)
    mirrored = evaluation.wilson_interval(total - correct, total)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_interval_of_nonsense_is_refused(correct, total):
    with pytest.raises(ValueError, match="expected 0 <= correct <= total"):
        evaluation.wilson_interval(correct, total)


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of chance-level weights."""
    torch.manual_seed(0)
    path = tmp_path / "net.safetensors"
    save_checkpoint(Net(), path, {"preprocessing": {"mean": 0.5, "std": 0.5}})
    return path


def evaluate(checkpoint, mnist, *flags, code=0):
    return run("evaluate", "--checkpoint", checkpoint, "--data-dir", mnist, *flags, code=code)


def test_the_command_prints_json_and_draws_the_matrix(checkpoint, mnist, tmp_path):
    png = tmp_path / "confusion.png"
    document = json.loads(evaluate(checkpoint, mnist, "--json", "--plot", png).stdout)
    confusion = np.array(document["confusion"])
    assert confusion.sum() == document["total"] == 50
    assert confusion.trace() == document["correct"]
    assert document["interval_95"] == list(evaluation.wilson_interval(document["correct"], 50))
    assert png.read_bytes().startswith(PNG)


@pytest.mark.parametrize("batch_size", [1, 64, 1000])
def test_the_batch_size_changes_nothing(checkpoint, mnist, batch_size):
    result = evaluate(checkpoint, mnist, "--json", "--batch-size", batch_size)
    assert result.stdout == evaluate(checkpoint, mnist, "--json").stdout


def test_the_command_prints_a_table(checkpoint, mnist):
    text = evaluate(checkpoint, mnist).stdout
    assert "True digit by row, predicted by column" in text
    assert "95% Wilson interval" in text


@pytest.mark.parametrize(("columns", "recall"), [(47, False), (60, True), (200, True)])
def test_no_count_is_cut_off_on_a_narrow_terminal(columns, recall, monkeypatch):
    """The counts of a good network, four digits on the diagonal."""
    confusion = np.diag([978, 1132, 1026, 1009, 980, 884, 952, 1025, 970, 1000])
    confusion[5, 3] = 5
    console = Console(width=columns, file=io.StringIO(), force_terminal=False)
    command = sys.modules["lenet_deploy.cli.evaluate"]  # the package's own is the function
    monkeypatch.setattr(command, "stdout", console)
    command._print(evaluation.Evaluation(confusion))
    text = console.file.getvalue()
    assert "…" not in text
    assert all(re.search(rf"\b{count}\b", text) for count in np.diag(confusion))
    assert ("99.44%" in text) == recall
    assert max(map(len, text.splitlines())) <= columns


def test_normalisation_is_the_cards_unless_it_is_given(checkpoint, mnist, monkeypatch):
    numbers, real = [], evaluation.evaluate

    def spy(net, split, preprocessing, **options):
        numbers.append((preprocessing.mean, preprocessing.std))
        return real(net, split, preprocessing, **options)

    monkeypatch.setattr(evaluation, "evaluate", spy)
    evaluate(checkpoint, mnist)
    evaluate(checkpoint, mnist, "--mean", "0.1", "--std", "0.2")
    torch.save(Net().state_dict(), checkpoint.with_name("bare.pt"))
    said = evaluate(checkpoint.with_name("bare.pt"), mnist).stderr
    assert "mean 0.1307 (--mean), std 0.3081 (--std)" in said
    assert numbers == [(0.5, 0.5), (0.1, 0.2), (0.1307, 0.3081)]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_of_the_family_is_evaluated(mnist, tmp_path, channels):
    """Grey digits become three equal channels, for which the first kernels are a third each."""
    torch.manual_seed(0)
    net = Net()
    checkpoint = tmp_path / "a.pt"
    torch.save(net.state_dict(), checkpoint)
    expected = evaluate(checkpoint, mnist, "--json", "--activation", "tanh").stdout
    weights = net.state_dict()
    weights["conv1.weight"] = weights["conv1.weight"].repeat(1, channels, 1, 1) / channels
    torch.save({"state_dict": weights}, checkpoint)
    assert evaluate(checkpoint, mnist, "--json", "--activation", "tanh").stdout == expected


def test_a_network_of_letters_is_refused(mnist, tmp_path):
    torch.save({**Net().state_dict(), "fc3.weight": torch.zeros(26, 84),
                "fc3.bias": torch.zeros(26)}, tmp_path / "a.pt")  # fmt: skip
    assert "found 26 classes" in evaluate(tmp_path / "a.pt", mnist, code=2).stderr


def test_exit_codes(checkpoint, mnist, tmp_path):
    evaluate(tmp_path / "none.pt", mnist, code=1)
    evaluate(checkpoint, tmp_path / "none", code=1)
    evaluate(checkpoint, mnist, "--std", "0", code=2)
    evaluate(checkpoint, mnist, "--batch-size", "0", code=2)
    result = evaluate(checkpoint, mnist, "--plot", tmp_path / "none" / "confusion.png", code=1)
    assert "No such file or directory" in result.stderr


def test_a_perfect_matrix_can_be_drawn(tmp_path):
    curves.confusion_matrix(np.eye(10, dtype=np.int64), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


def test_the_bundled_checkpoint_is_as_good_as_its_card_says_on_the_real_test_digits(mnist_dir):
    document = json.loads(run("evaluate", "--data-dir", mnist_dir, "--json").stdout)
    assert document["total"] == 10_000
    # Another processor may round otherwise and tip a digit that hangs in the balance.
    assert abs(document["correct"] - read_checkpoint()[1]["accuracy"]["test"]["correct"]) <= 2
