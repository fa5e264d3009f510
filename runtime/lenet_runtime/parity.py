"""Parity: does an engine answer as eager PyTorch does, and how far off is it?

The yardstick is eager's own rounding error. Against a float64 reference, eager float32's logits
of the bundled network are off by up to 8 u of the largest logit in the row on MNIST's 10,000 test
digits and 18 u on noise (u = 2**-24, the unit roundoff of float32); every report states this
distance for its own images, as `Comparison.eager_error`. Two correct implementations round
differently, so they may differ by the sum of two such errors, about 36 u. The tolerance is 128 u:
three and a half times that, and far below what one wrong weight or a lost bias does.

Lower precisions are held against eager float32, too, and their own rounding is what they differ
by. All tolerances come from the 60,000 training digits and from 65,000 images of noise, never from
test digits. A floating-point type of unit roundoff u was applied to the weights and the inputs of
every layer, sums kept in float32; what that does to a row follows its largest logit on digits and
not on noise, whose logits are small, so each tolerance has both parts.

- fp16 and tf32 have u = 2**-11. Rounded to nearest, the worst of the digits is off by 3 u of the
  row's largest logit and the worst of the noise by 7.7 u: 0.33 of fp16's tolerance. Matrix units
  that are handed float32 cut TF32 off instead, which is 10 u and 16 u: 0.59 of tf32's.
- bf16 has u = 2**-8. If every layer is rounded, that is 4.9 u and 12 u, 0.61 of the tolerance; a
  CPU's kernels round the dense layers alone, which is 1.6 u and 3 u.
- int8 rounds activations to a fixed step, so that its error does not shrink with the logits. It
  is 0.076 logits in the mean square and 0.46 at most on training digits, where an activation
  beyond all calibrated ones is cut off, too; and 0.17 at most on noise, whose largest logit is 2.4
  on average. So the tolerance has both parts: a quarter of a logit, and 2**-4 of the row's largest,
  0.9 for a typical digit.

A tolerance of int8's width sees a layer whose scales are off by a tenth, a single channel of a
convolution off by two, swapped channels, and a lost weight, if it is a convolution's or a logit's
largest. It does not see small biases that are lost after conv1, nor one weight of a wide dense
layer. So tests/test_native_precision.py shows what it catches, and also holds every kernel against
integer arithmetic in NumPy, where one wrong bit fails.

Top-1 on noise is asked of fp32 alone. A network's logits of noise lie so close together that a
correct int8 engine answers otherwise in 2 of 100 images, and a batch of one would fail by chance;
the tolerance of the values still holds there. Digits are judged in every precision.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import ParityError

Images = NDArray[np.float32]
Logits = NDArray[np.float32]
Engine = Callable[[Images], Logits]

BATCH_SIZES = (1, 2, 7, 64, 257)


@dataclass(frozen=True)
class Tolerance:
    """How far an answer may be off: ``|found - expected| <= atol + rtol * max|expected row|``.

    The rounding errors of a row's ten logits come from the same hidden activations, so they
    scale with the row's largest logit and not with each logit's own value.

    Attributes:
        atol: absolute part, in logits.
        rtol: share of the largest absolute logit of the row.
        min_top1: least share of rows in which the largest logit is the same.
        min_top1_noise: the same where the images are noise.

    Raises:
        ValueError: numbers that would let everything pass, or nothing.
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


NOISE = "random"  # the name of `parity_batches` for images of noise
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
    """One batch, held against its reference.

    Attributes:
        inputs: what the images were: ``digits`` or ``random``, which is noise.
        batch_size: rows compared.
        max_abs_diff: largest difference in logits; None where values cannot be compared.
        mean_abs_diff: mean difference in logits; None likewise.
        worst_share: largest difference as a share of what the tolerance allows; 1 is the limit.
        top1_agreement: share of rows with the same largest logit.
        eager_error: largest distance of eager float32 from eager float64 on these images.
        reason: why it failed; empty where it passed.
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
        """`max_abs_diff` in units of eager's own error; None where either is unknown or zero."""
        if self.max_abs_diff is None or not self.eager_error:
            return None
        return self.max_abs_diff / self.eager_error


@dataclass(frozen=True)
class ParityReport:
    """The comparisons that an artifact went through.

    Attributes:
        precision: key of `TOLERANCES`.
        tolerance: that was applied.
        comparisons: one per batch size and kind of input.
    """

    precision: str
    tolerance: Tolerance
    comparisons: tuple[Comparison, ...]

    @property
    def ok(self) -> bool:
        """Whether there were comparisons and all of them passed."""
        return bool(self.comparisons) and all(c.ok for c in self.comparisons)

    def require(self, where: str) -> None:
        """Raise `ParityError` with every failure if there was one."""
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
    expected: Logits,
    tolerance: Tolerance,
    *,
    inputs: str = "images",
    exact: NDArray[np.float64] | None = None,
) -> Comparison:
    """Hold `found` against `expected`, both float32 ``(N, 10)``: shape, dtype, then values.

    A value that is not finite, on either side, fails: NaN equals nothing, and a tolerance of
    infinity would hide everything.

    Args:
        found: the engine's answer.
        expected: eager float32's answer.
        tolerance: see `Tolerance`.
        inputs: name of the images, for the report; `NOISE` is judged by `min_top1_noise`.
        exact: eager float64's answer, the reference for `Comparison.eager_error`.
    """
    rows = len(expected)
    reason = _unlike(found, expected)
    if reason:
        return Comparison(inputs, rows, None, None, None, None, None, reason)
    wide = expected.astype(np.float64)
    difference = np.abs(found.astype(np.float64) - wide)
    allowed = tolerance.atol + tolerance.rtol * np.abs(wide).max(axis=1, keepdims=True)
    share = float((difference / allowed).max())
    least = tolerance.min_top1_noise if inputs == NOISE else tolerance.min_top1
    agreement = float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())
    if share > 1:
        row, logit = np.unravel_index((difference / allowed).argmax(), difference.shape)
        reason = (
            f"row {row}, logit {logit}: expected {expected[row, logit]:.9g}, found "
            f"{found[row, logit]:.9g}, off by {difference[row, logit]:.3g} where "
            f"{allowed[row, 0]:.3g} is allowed"
        )
    elif agreement < least:
        reason = f"top-1 agrees in {agreement:.4%} of rows, expected {least:.4%}"
    return Comparison(
        inputs,
        rows,
        float(difference.max()),
        float(difference.mean()),
        share,
        agreement,
        None if exact is None else float(np.abs(wide - exact).max()),
        reason,
    )


def _unlike(found: NDArray[np.generic], expected: Logits) -> str:
    """Why the two cannot be compared value by value; empty where they can."""
    if found.shape != expected.shape or not len(expected):
        return f"expected shape {expected.shape} with a row at least, found {found.shape}"
    if found.dtype != expected.dtype:
        return f"expected dtype {expected.dtype}, found {found.dtype}"
    for name, values in (("found", found), ("expected", expected)):
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            return f"{bad} of the {values.size} {name} logits are not finite"
    return ""


def check_parity(
    engine: Engine,
    eager: Engine,
    exact: Callable[[Images], NDArray[np.float64]],
    batches: Iterable[tuple[str, Images]],
    precision: str,
) -> ParityReport:
    """Run every batch through the engine and its references and compare.

    Args:
        engine: what is judged.
        eager: eager PyTorch in float32.
        exact: eager PyTorch in float64.
        batches: named batches of images ``(N, 1, 32, 32)``.
        precision: key of `TOLERANCES`.
    """
    tolerance = TOLERANCES[precision]
    comparisons = tuple(
        compare(engine(images), eager(images), tolerance, inputs=name, exact=exact(images))
        for name, images in batches
    )
    return ParityReport(precision, tolerance, comparisons)


def parity_batches(
    digits: Images, batch_sizes: Sequence[int], seed: int = 0
) -> Iterable[tuple[str, Images]]:
    """For each batch size, unit noise and real digits (repeated in turn where N is larger)."""
    noise = np.random.default_rng(seed)
    for size in batch_sizes:
        yield NOISE, noise.standard_normal((size, 1, 32, 32), dtype=np.float32)
        yield "digits", np.ascontiguousarray(np.resize(digits, (size, *digits.shape[1:])))
