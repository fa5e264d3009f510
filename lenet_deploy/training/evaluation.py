"""Evaluates a network: accuracy with its interval, recall per class, confusion matrix."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lenet_deploy.training.data import Split, batches, preprocess
from lenet_runtime.errors import DeployError
from lenet_runtime.images.preprocess import Preprocessing


@dataclass(frozen=True)
class Mistake:
    """A digit that was classified wrong.

    Attributes:
        index: Place of the digit in its set, from 0.
        label: Digit that the image shows.
        answer: Digit that the network took it for.
        probability: Softmax probability of the answer, 0 to 1.
        of_label: Softmax probability of the label.
    """

    index: int
    label: int
    answer: int
    probability: float
    of_label: float


@dataclass(frozen=True)
class Evaluation:
    """The answers of a network on a set of digits, counted.

    Attributes:
        confusion: Number of digits by true digit (row) and predicted digit (column), int64
            ``(10, 10)``.
        mistakes: Every digit that was classified wrong, in the order of the set.
    """

    confusion: NDArray[np.int64]
    mistakes: tuple[Mistake, ...] = ()

    @property
    def total(self) -> int:
        """Number of digits."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Number of digits that were classified right."""
        return int(self.confusion.trace())

    @property
    def accuracy(self) -> float:
        """Share of digits that were classified right, from 0 to 1."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson score interval of the accuracy, 95%."""
        return wilson_interval(self.correct, self.total)

    @property
    def recall(self) -> list[float | None]:
        """Share of each class 0 to 9 that was classified right; None where there are no digits."""
        totals = self.confusion.sum(axis=1)
        return [
            float(self.confusion[digit, digit] / total) if total else None
            for digit, total in enumerate(totals)
        ]

    def summary(self) -> dict[str, Any]:
        """The accuracy as plain types, without the classes."""
        return {
            "correct": self.correct,
            "total": self.total,
            "accuracy": self.accuracy,
            "interval_95": list(self.interval),
        }

    def as_dict(self) -> dict[str, Any]:
        """The whole evaluation as plain types, for JSON."""
        return self.summary() | {"recall": self.recall, "confusion": self.confusion.tolist()}


def wilson_interval(correct: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Score interval of a proportion, 95% for the default `z` (Wilson 1927, JASA 22:209-212).

    Unlike the textbook interval ``p +- z * sqrt(p(1-p)/n)`` it stays within [0, 1] and is right
    also for proportions close to 1, as those of digits are (Brown, Cai and DasGupta 2001).
    """
    if not 0 <= correct <= total or total == 0:
        raise ValueError(f"expected 0 <= correct <= total and total > 0, got {correct}, {total}")
    share, z2n = correct / total, z * z / total
    centre = (share + z2n / 2) / (1 + z2n)
    half = z / (1 + z2n) * math.sqrt(share * (1 - share) / total + z2n / (4 * total))
    return max(0.0, centre - half), min(1.0, centre + half)


def evaluate(
    net: nn.Module,
    split: Split,
    preprocessing: Preprocessing,
    *,
    batch_size: int = 1000,
    workers: int = 0,
) -> Evaluation:
    """Judge `net`, whose device and mode stay the same, on the digits of `split`.

    Raises:
        DeployError: the logits are not finite, or there are no digits.
    """
    confusion, device = np.zeros((10, 10), np.int64), next(net.parameters()).device
    mistakes: list[Mistake] = []
    for images, labels in batches(split, batch_size, workers=workers):
        with torch.inference_mode():
            logits = net(preprocess(images, preprocessing).to(device)).cpu()
        if not logits.isfinite().all():
            raise DeployError("evaluation: expected finite logits, found NaN or infinity")
        mistakes += _mistakes(logits, labels, first=int(confusion.sum()))
        np.add.at(confusion, (labels.numpy(), logits.argmax(dim=1).numpy()), 1)
    if not confusion.any():
        raise DeployError("evaluation: expected at least one digit, found none")
    return Evaluation(confusion, tuple(mistakes))


def _mistakes(logits: torch.Tensor, labels: torch.Tensor, first: int) -> Iterator[Mistake]:
    """Those of one batch, whose first digit has the index `first`."""
    answers, probabilities = logits.argmax(dim=1), logits.softmax(dim=1)
    if (logits >= 0).all() and ((logits.sum(dim=1) - 1).abs() < 1e-4).all():
        probabilities = logits  # of a network that ends in softmax
    for row in (answers != labels).nonzero().flatten().tolist():
        answer, label = int(answers[row]), int(labels[row])
        shares = float(probabilities[row, answer]), float(probabilities[row, label])
        yield Mistake(first + row, label, answer, *shares)
