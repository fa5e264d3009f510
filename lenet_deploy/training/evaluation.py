"""How good a classifier is: accuracy with its interval, recall per class, confusion matrix.

It judges a function from numpy to numpy, so an exported artifact is judged just as `Net` is.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lenet_deploy.training.data import Split, batches, preprocess
from lenet_deploy.training.model import Net
from lenet_runtime.errors import DeployError
from lenet_runtime.images.preprocess import Preprocessing

Classifier = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Examples = Iterable[tuple[NDArray[np.float32], NDArray[np.int64]]]


@dataclass(frozen=True)
class Evaluation:
    """What a classifier did on a set of digits.

    Attributes:
        confusion: int64 ``(10, 10)``; row is the true digit, column the predicted one.
    """

    confusion: NDArray[np.int64]

    @property
    def total(self) -> int:
        """Digits judged."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Digits whose largest logit is the right one."""
        return int(self.confusion.trace())

    @property
    def accuracy(self) -> float:
        """Share of digits that are right, from 0 to 1."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson score interval of the accuracy."""
        return wilson_interval(self.correct, self.total)

    @property
    def recall(self) -> list[float | None]:
        """Of each class 0 to 9, the share that was found; None where a class has no digits."""
        totals = self.confusion.sum(axis=1)
        return [
            float(self.confusion[digit, digit] / total) if total else None
            for digit, total in enumerate(totals)
        ]

    def summary(self) -> dict[str, Any]:
        """The accuracy alone, as plain types."""
        return {
            "correct": self.correct,
            "total": self.total,
            "accuracy": self.accuracy,
            "interval_95": list(self.interval),
        }

    def as_dict(self) -> dict[str, Any]:
        """All of it, as plain types for JSON."""
        return {
            **self.summary(),
            "recall": self.recall,
            "confusion": self.confusion.tolist(),
        }


def wilson_interval(correct: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Score interval of a proportion, 95% for the default `z` (Wilson 1927, JASA 22:209-212).

    Unlike the textbook interval ``p +- z * sqrt(p(1-p)/n)`` it stays within [0, 1] and keeps its
    coverage close to 1, which is where digits are (Brown, Cai and DasGupta 2001).
    """
    if not 0 <= correct <= total or total == 0:
        raise ValueError(f"expected 0 <= correct <= total and total > 0, got {correct}, {total}")
    share, z2n = correct / total, z * z / total
    centre = (share + z2n / 2) / (1 + z2n)
    half = z / (1 + z2n) * math.sqrt(share * (1 - share) / total + z2n / (4 * total))
    return max(0.0, centre - half), min(1.0, centre + half)


def evaluate(classifier: Classifier, examples: Examples) -> Evaluation:
    """Judge `classifier`, float32 ``(N, 1, 32, 32)`` -> logits ``(N, 10)``, on batches of examples.

    Raises:
        DeployError: it answers in another shape or not finitely, or there are no examples.
    """
    confusion = np.zeros((10, 10), np.int64)
    for images, labels in examples:
        logits = classifier(images)
        if logits.shape != (len(labels), 10) or not np.isfinite(logits).all():
            raise DeployError(
                f"evaluation: expected finite logits ({len(labels)}, 10), found {logits.shape}"
                f"{'' if np.isfinite(logits).all() else ' with NaN or infinity'}"
            )
        np.add.at(confusion, (labels, logits.argmax(axis=1)), 1)
    if not confusion.any():
        raise DeployError("evaluation: expected at least one digit, found none")
    return Evaluation(confusion)


def examples(
    split: Split, preprocessing: Preprocessing, *, batch_size: int = 1000, workers: int = 0
) -> Examples:
    """Batches of `split` as the network takes them: float32 ``(N, 1, 32, 32)``, int64 ``(N,)``."""
    for images, labels in batches(split, batch_size, workers=workers):
        yield preprocess(images, preprocessing).numpy(), labels.numpy()


def as_classifier(net: Net) -> Classifier:
    """`net` as a function from numpy to numpy, on the device it is on, in the mode it is in."""

    def classify(images: NDArray[np.float32]) -> NDArray[np.float32]:
        device = next(net.parameters()).device
        with torch.inference_mode():
            logits: NDArray[np.float32] = net(torch.from_numpy(images).to(device)).cpu().numpy()
        return logits

    return classify
