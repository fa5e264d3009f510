"""Turns logits into answers: labels, probabilities and the most probable classes."""

import json
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import ArtifactError, InputError


@dataclass(frozen=True, eq=False)
class Prediction:
    """The network's answers for N images; `len` is N, and an item is `to_dict`'s of one image.

    Attributes:
        labels: Most probable class of each image, int64 ``(N,)``; of equals, the lower class.
        probabilities: Softmax of the logits, or the network's own, float32 ``(N, C)``; each row
            sums to 1. They are not calibrated, and an image that shows no digit gets a label too.
        top_k: The k most probable classes of each image, int64 ``(N, k)``, in descending order;
            among equals the lower class comes first, so ``top_k[:, 0]`` equals `labels`.
        class_labels: Names of the C classes, ``("0", ..., "9")``.
        warnings: For pictures, what makes it doubtful that each shows one digit, such as several
            shapes; mostly empty tuples. Empty as a whole for arrays, which are not looked at.
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    top_k: NDArray[np.int64]
    class_labels: tuple[str, ...]
    warnings: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def top(self, index: int) -> list[tuple[str, float]]:
        """Names and probabilities of the k most probable classes of image `index`, descending."""
        row = self.probabilities[index]
        return [(self.class_labels[c], float(row[c])) for c in self.top_k[index]]

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        ranked = [{"label": name, "probability": p} for name, p in self.top(operator.index(index))]
        doubts = self.warnings[index] if self.warnings else ()
        return {**ranked[0], "top": ranked, "warnings": list(doubts)}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self.__getitem__, range(len(self)))

    def to_dict(self) -> list[dict[str, Any]]:
        """One dictionary an image, of Python's own types, as `json.dumps` takes them.

        ``label`` is the name of the most probable class and ``probability`` a float; ``top`` lists
        the k most probable as dictionaries of these two; ``warnings`` lists what is doubtful.
        """
        return list(self)

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict())


def from_logits(
    logits: NDArray[np.floating[Any]],
    class_labels: Sequence[str],
    k: SupportsIndex = 3,
    warnings: tuple[tuple[str, ...], ...] = (),
    *,
    output: str = "logits",
) -> Prediction:
    """Turn logits ``(N, C)``, or what a network's output is named, into a `Prediction`.

    The softmax is computed in float64 after subtracting each row's maximum, so that it neither
    overflows nor divides by zero, and then rounded to float32. Classes are ranked by their logits,
    so that probabilities which underflow or round to the same float32 keep their order.

    Args:
        logits: Finite floating-point logits ``(N, C)``; N may be 0.
        class_labels: Names of the C classes.
        k: Number of classes to rank, 1 to C.
        warnings: Doubts about each picture, which the answer repeats.
        output: `Manifest.output`. Softmax of ``log_probabilities`` are the probabilities, too;
            ``probabilities`` stay as they are.

    Raises:
        InputError: `k` is not an integer from 1 to C.
        ArtifactError: the logits have another shape or are not finite, so the network that
            computed them is damaged or has other classes.
    """
    top_k = _check_k(k, len(class_labels))
    _check_logits(logits, len(class_labels))
    wide = logits.astype(np.float64)
    order = np.argsort(-wide, axis=1, kind="stable").astype(np.int64)
    if output == "probabilities":
        probabilities = logits.astype(np.float32)
    else:
        exps = np.exp(wide - np.take_along_axis(wide, order[:, :1], axis=1))
        probabilities = (exps / exps.sum(axis=1, keepdims=True)).astype(np.float32)
    return Prediction(
        order[:, 0].copy(), probabilities, order[:, :top_k].copy(), tuple(class_labels), warnings
    )


def _check_k(k: SupportsIndex, classes: int) -> int:
    try:
        number = operator.index(k)
    except TypeError:
        number = 0
    if isinstance(k, bool) or not 1 <= number <= classes:
        raise InputError(f"top_k: expected an integer from 1 to {classes}, found {k!r}")
    return number


def _check_logits(logits: NDArray[np.floating[Any]], classes: int) -> None:
    if logits.ndim != 2 or logits.shape[1] != classes:
        raise ArtifactError(
            f"logits: expected shape (N, {classes}), one per class label, found {logits.shape}; "
            "the model and its labels do not belong together: export it again"
        )
    finite = np.isfinite(logits)
    if not finite.all():
        row = int(np.argmin(finite.all(axis=1)))
        raise ArtifactError(
            f"logits[{row}]: expected finite numbers, found {logits[row].tolist()}; the model's "
            "weights are damaged, or its precision overflows: verify it, or export it again"
        )
