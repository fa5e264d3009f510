"""Parity: compares an engine's logits with those of eager PyTorch.

Tolerances are measured in eager's own rounding error. Compared with float64, the float32 logits of
the bundled network are off by up to 8 u of the largest logit in the row on MNIST's 10,000 test
digits and 18 u on noise (u = 2**-24, the unit roundoff of float32); every report states this
distance for its own images, as `Comparison.eager_error`. Two correct implementations round
differently, so they may differ by the sum of two such errors, about 36 u. The tolerance is 128 u:
three and a half times that, and far below the effect of one wrong weight or a lost bias.

Lower precisions are compared with eager float32, too, and differ from it by their own rounding.
All tolerances come from the 60,000 training digits and from 65,000 images of noise, never from
test digits. They were found by rounding the weights and the inputs of every layer to a type of unit
roundoff u, with sums in float32. On digits the error of a row grows with its largest logit; on
noise, whose logits are small, it does not. So each tolerance has an absolute and a relative part.
The absolute part is for networks whose largest logit is 1 or more, as the bundled one's is. Of
others it shrinks with that logit, or it would let pass whatever a network of tiny logits answers.

- fp16 and tf32 have u = 2**-11. Rounding to nearest is off by at most 3 u of the row's largest
  logit on digits and 7.7 u on noise: 0.33 of fp16's tolerance. Matrix units that receive float32
  truncate to TF32 instead, which is 10 u and 16 u: 0.59 of tf32's.
- bf16 has u = 2**-8. If every layer is rounded, that is 4.9 u and 12 u, 0.61 of the tolerance; the
  kernels for CPUs round the dense layers alone, which is 1.6 u and 3 u.
- int8 rounds activations to a fixed step, so its error does not shrink with the logits. On training
  digits it is 0.076 logits in the mean square and 0.46 at most, clipped activations included, and
  on noise, whose largest logit is 2.4 on average, 0.17 at most. The tolerance is a quarter of a
  logit plus 2**-4 of the row's largest logit, which is 0.9 for a typical digit.

The tolerance of int8 detects a layer whose scales are off by a tenth, a channel of a convolution
that is off by two, swapped channels, and a lost weight if it belongs to a convolution or is the
largest of a logit. It does not detect small biases that are lost after conv1, nor one weight of a
wide dense layer. So tests/export/test_native_int8.py shows what is detected, and also compares
every kernel with integer arithmetic in NumPy, where one wrong bit fails.

A module may end in log_softmax or softmax. A logarithm of a probability is a logit less one number
that all logits of the row go into, so it is off by what two logits are off by at most, and twice
as much is allowed. Probabilities are compared by their logarithms: as they stand, a digit's 0.99999
would hide a logit that is off by 1. Those below `LEAST_PROBABILITY` count as that, because float32
runs out of smaller ones. So their differences, too, are in logits.

Top-1 agreement on noise is required of fp32 alone. The logits of noise lie so close together that
a correct int8 engine answers otherwise in 2 of 100 images, so a batch of one would fail by chance;
the tolerance of the values still applies. On digits it is required in every precision.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import ParityError

Images = NDArray[np.float32]
Logits = NDArray[np.float32]
Classifier = Callable[[Images], Logits]

BATCH_SIZES = (1, 2, 7, 64, 257)


@dataclass(frozen=True)
class Tolerance:
    """The allowed difference: ``|found - expected| <= atol * scale + rtol * max|expected row|``.

    The scale is the network's largest absolute logit, at most 1.

    The rounding errors of a row's ten logits come from the same hidden activations, so they
    scale with the row's largest logit and not with each logit's own value.

    Attributes:
        atol: Absolute part, in logits, of a network whose largest logit is 1 or more.
        rtol: Relative part, as a share of the largest absolute logit in the row.
        min_top1: Smallest accepted share of rows that have the same largest logit.
        min_top1_noise: Smallest accepted share of such rows where the images are noise.

    Raises:
        ValueError: with these numbers everything would pass, or nothing.
    """

    atol: float
    rtol: float
    min_top1: float
    min_top1_noise: float

    def __post_init__(self) -> None:
        shares = (self.min_top1, self.min_top1_noise)
        if not (
            0 < self.atol < math.inf
            and 0 <= self.rtol < math.inf
            and all(0 <= share <= 1 for share in shares)
        ):
            raise ValueError(f"expected 0 < atol, 0 <= rtol and 0 <= min_top1 <= 1, found {self}")


LEAST_PROBABILITY = 2.0**-100
_LEAST = 2.0**-149  # float32's least step, allowed where all logits are zero
NOISE = "random"  # what `parity_batches` calls images of noise
# A single flip among the 60 bundled digits passes in int8, at batch sizes that hold all of them.
TOLERANCES = {
    "fp32": Tolerance(atol=1e-6, rtol=2.0**-17, min_top1=0.999, min_top1_noise=0.999),
    "tf32": Tolerance(atol=2.0**-7, rtol=2.0**-7, min_top1=0.998, min_top1_noise=0),
    "fp16": Tolerance(atol=2.0**-8, rtol=2.0**-7, min_top1=0.998, min_top1_noise=0),
    "bf16": Tolerance(atol=2.0**-4, rtol=2.0**-5, min_top1=0.99, min_top1_noise=0),
    "int8": Tolerance(atol=0.25, rtol=2.0**-4, min_top1=0.98, min_top1_noise=0),
}


@dataclass(frozen=True)
class Comparison:
    """The comparison of one batch of logits with its reference.

    All numbers but the batch size are None where the two cannot be compared value by value.

    Attributes:
        inputs: Kind of the images: ``digits``, or ``random`` for noise.
        batch_size: Number of rows compared.
        max_abs_diff: Largest absolute difference, in logits.
        mean_abs_diff: Mean absolute difference, in logits.
        worst_share: Largest difference as a share of the allowed one; 1 is the limit.
        top1_agreement: Share of rows that have the same largest logit.
        eager_error: Largest distance of eager float32 from float64 on these images, in logits;
            None also where float64 was not computed.
        reason: Reason for the failure; empty where the batch passed.
    """

    inputs: str
    batch_size: int
    max_abs_diff: float | None
    mean_abs_diff: float | None
    worst_share: float | None
    top1_agreement: float | None
    eager_error: float | None
    reason: str

    @property
    def ok(self) -> bool:
        """Whether shape, dtype, values and top-1 all agree within the tolerance."""
        return not self.reason

    @property
    def eager_multiple(self) -> float | None:
        """`max_abs_diff` in units of `eager_error`; None where one is unknown or the latter 0."""
        if self.max_abs_diff is None or not self.eager_error:
            return None
        return self.max_abs_diff / self.eager_error


@dataclass(frozen=True)
class ParityReport:
    """All comparisons of an artifact with its reference.

    Attributes:
        precision: Precision of the artifact, a key of `TOLERANCES`.
        tolerance: Tolerance that was applied.
        comparisons: Comparisons, one per batch size and kind of images.
    """

    precision: str
    tolerance: Tolerance
    comparisons: tuple[Comparison, ...]

    @property
    def ok(self) -> bool:
        """Whether there were comparisons and all of them passed."""
        return bool(self.comparisons) and all(c.ok for c in self.comparisons)

    def require(self, where: str) -> None:
        """Raise a `ParityError` that lists every failure, if there was one."""
        if self.ok:
            return
        if not self.comparisons:
            raise ParityError(f"{where} was not compared with its reference at all")
        failures = [
            f"{c.inputs} at batch size {c.batch_size}: {c.reason}"
            for c in self.comparisons
            if not c.ok
        ]
        raise ParityError(f"{where} differs from its reference; " + "; ".join(failures))


def compare(
    found: NDArray[np.generic],
    expected: NDArray[np.floating[Any]],
    tolerance: Tolerance,
    *,
    inputs: str = "images",
    exact: NDArray[np.float64] | None = None,
    scale: float | None = None,
    output: str = "logits",
) -> Comparison:
    """Compare `found` with `expected`, both ``(N, K)``: shape, dtype, then values.

    A value that is not finite fails, on either side: NaN equals nothing, and an infinite
    tolerance would hide everything.

    Args:
        found: Logits of the engine.
        expected: Logits of eager float32.
        tolerance: Tolerance of the engine's precision.
        inputs: Kind of the images, for the report; `NOISE` is judged by `min_top1_noise`.
        exact: Logits of eager float64, the reference for `Comparison.eager_error`.
        scale: The network's largest absolute logit, see `scale_of`; None for that of `expected`.
        output: What the values are, see `lenet_runtime.artifact.Manifest.output`.
    """
    rows = len(expected)
    if output == "probabilities":
        found, expected = _logarithms(found), _logarithms(expected)
        exact = None if exact is None else _logarithms(exact)
    share_of_logits = 1 if output == "logits" else 2
    reason = _unlike(found, expected)
    if reason:
        return Comparison(inputs, rows, None, None, None, None, None, reason)
    wide = expected.astype(np.float64)
    difference = np.abs(found.astype(np.float64) - wide)
    largest_of_rows = np.abs(wide).max(axis=1, keepdims=True)
    floor = tolerance.atol * min(1.0, largest_of_rows.max() if scale is None else scale)
    allowed = share_of_logits * np.maximum(floor + tolerance.rtol * largest_of_rows, _LEAST)
    share = float((difference / allowed).max())
    min_top1 = tolerance.min_top1_noise if inputs == NOISE else tolerance.min_top1
    agreement = float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())
    if share > 1:
        row, logit = np.unravel_index((difference / allowed).argmax(), difference.shape)
        reason = (
            f"row {row}, logit {logit}: expected {expected[row, logit]:.9g}, found "
            f"{found[row, logit]:.9g}, off by {difference[row, logit]:.3g} where "
            f"{allowed[row, 0]:.3g} is allowed"
        )
    elif agreement < min_top1:
        reason = f"top-1 agrees in {agreement:.4%} of rows, expected {min_top1:.4%}"
    largest, mean = float(difference.max()), float(difference.mean())
    eager_error = None if exact is None else float(np.abs(wide - exact).max())
    return Comparison(inputs, rows, largest, mean, share, agreement, eager_error, reason)


def scale_of(values: NDArray[np.floating[Any]], output: str = "logits") -> float:
    """The largest absolute logit of an output's `values` ``(N, K)``, as `compare` takes it."""
    logits = _logarithms(values) if output == "probabilities" else values
    return float(np.abs(logits).max(initial=0.0))


def _logarithms(probabilities: NDArray[Any]) -> NDArray[Any]:
    """Logarithms in the same dtype, NaN of what is below 0."""
    least = np.where(probabilities >= 0, np.maximum(probabilities, LEAST_PROBABILITY), np.nan)
    return np.log(least).astype(probabilities.dtype)


def _unlike(found: NDArray[np.generic], expected: NDArray[np.floating[Any]]) -> str:
    """The reason why the two cannot be compared value by value; empty where they can."""
    if found.shape != expected.shape or not len(expected):
        return f"expected shape {expected.shape} with a row at least, found {found.shape}"
    if found.dtype != expected.dtype:
        return f"expected dtype {expected.dtype}, found {found.dtype}"
    for name, values in (("found", found), ("expected", expected)):
        count = int(np.count_nonzero(~np.isfinite(values)))
        if count:
            return f"{count} of the {values.size} {name} logits are not finite"
    return ""


def check_parity(
    engine: Classifier,
    eager: Classifier,
    exact: Callable[[Images], NDArray[np.float64]],
    batches: Iterable[tuple[str, Images]],
    precision: str,
    *,
    output: str = "logits",
) -> ParityReport:
    """Run every batch through the engine and its references, and compare the logits.

    Args:
        engine: Engine to judge, from images ``(N, C, H, W)`` to logits ``(N, K)``.
        eager: Eager PyTorch in float32.
        exact: Eager PyTorch in float64.
        batches: Batches of images, each with its kind.
        precision: Precision of the engine, a key of `TOLERANCES`.
        output: What the engine answers, see `compare`.
    """
    tolerance = TOLERANCES[precision]
    answers = [(name, engine(images), eager(images), exact(images)) for name, images in batches]
    scale = max((scale_of(expected, output) for _, _, expected, _ in answers), default=0.0)
    comparisons = tuple(
        compare(found, expected, tolerance, inputs=name, exact=wide, scale=scale, output=output)
        for name, found, expected, wide in answers
    )
    return ParityReport(precision, tolerance, comparisons)


def parity_batches(
    digits: Images, batch_sizes: Sequence[int], seed: int = 0
) -> Iterable[tuple[str, Images]]:
    """Yield unit noise and real digits in each batch size; large batches repeat the digits."""
    noise = np.random.default_rng(seed)
    for size in batch_sizes:
        yield NOISE, noise.standard_normal((size, *digits.shape[1:]), dtype=np.float32)
        yield "digits", np.ascontiguousarray(np.resize(digits, (size, *digits.shape[1:])))
