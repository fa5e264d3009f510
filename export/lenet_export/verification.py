"""`verify`: hold an artifact that is loaded against its module, at length.

Export proves an artifact on a few hundred images before it is published. This goes further, on
any machine, at any time: the whole MNIST test set with every flipped answer, and whether an
image's logits depend on the batch it sits in.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lenet_export.network import weights
from lenet_export.network.reference import Reference
from lenet_export.network.shapes import output_name
from lenet_export.proof import (
    check_batch_sizes,
    mnist_batch,
    proof_batches,
    proof_sizes,
    prove,
)
from lenet_runtime.errors import ArtifactError, InputError, ParityError
from lenet_runtime.images.digits import load_digits
from lenet_runtime.parity import (
    BATCH_SIZES,
    TOLERANCES,
    Comparison,
    ParityReport,
    compare,
)
from lenet_runtime.plans.chunks import run_filled
from lenet_runtime.session import Session

_CHUNK = 1000


@dataclass(frozen=True)
class Flip:
    """A digit that the artifact and eager answer differently.

    Attributes:
        index: its place in the data set.
        label: the right answer.
        eager: eager's answer.
        found: the artifact's answer.
        margin: eager's largest logit less its second; a flip of a wide margin is a fault.
    """

    index: int
    label: int
    eager: int
    found: int
    margin: float


@dataclass(frozen=True)
class DataSetReport:
    """A labelled data set through the artifact and through eager.

    Attributes:
        name: of the data set.
        comparison: of all its logits at once.
        eager_accuracy: share of right answers of eager float32.
        accuracy: share of right answers of the artifact.
        flips: every digit on which the two disagree.
    """

    name: str
    comparison: Comparison
    eager_accuracy: float
    accuracy: float
    flips: tuple[Flip, ...]


@dataclass(frozen=True)
class Invariance:
    """Whether rows keep their logits when their batch changes.

    Attributes:
        change: what was done to the batch.
        comparison: of the same images' logits in both batches.
        bitwise: whether they are equal to the last bit.
    """

    change: str
    comparison: Comparison
    bitwise: bool


@dataclass(frozen=True)
class Verification:
    """Everything that `verify` found.

    Attributes:
        parity: over batch sizes, on noise and bundled digits.
        data_set: the labelled digits.
        invariance: empty for a static artifact of batch 1, whose batches cannot change.
    """

    parity: ParityReport
    data_set: DataSetReport
    invariance: tuple[Invariance, ...]

    @property
    def failures(self) -> list[str]:
        """One line for each comparison that failed; empty where all passed."""
        named = [(f"{c.inputs} at batch size {c.batch_size}", c) for c in self.parity.comparisons]
        named.append((self.data_set.name, self.data_set.comparison))
        named += [(f"batch {i.change}", i.comparison) for i in self.invariance]
        return [f"{name}: {c.reason}" for name, c in named if not c.ok]

    @property
    def ok(self) -> bool:
        """Whether every comparison passed."""
        return not self.failures

    def require(self, where: str) -> None:
        """Raise `ParityError` with every failure if there was one."""
        if not self.ok:
            raise ParityError(f"{where} differs from eager PyTorch; " + "; ".join(self.failures))

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        document = dataclasses.asdict(self)
        for entry, comparison in zip(
            document["parity"]["comparisons"], self.parity.comparisons, strict=True
        ):
            entry["eager_multiple"] = comparison.eager_multiple
        return {"ok": self.ok, "failures": self.failures} | document


def verify(
    session: Session,
    module: nn.Module,
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    data_set: tuple[str, NDArray[np.uint8], NDArray[np.integer[Any]]] | None = None,
    seed: int = 0,
) -> Verification:
    """Compare a session with the module that its artifact was exported from.

    Args:
        session: the loaded artifact.
        module: with the very weights that were exported.
        batch_sizes: for the parity table; see `proof_sizes`.
        data_set: name, uint8 images ``(N, 28, 28)`` and labels ``(N,)``; None for the bundled
            digits.
        seed: of the noise and of the permutation.

    Raises:
        ArtifactError: the artifact was made from other weights, or from a module that ends in
            another way, in log_softmax, say.
        InputError: an argument is wrong.
        ParityError: see `prove`; what fails otherwise is in the report.
    """
    check_batch_sizes(batch_sizes)
    _require_same_weights(session, module)
    manifest, reference = session.manifest, Reference(module)
    bundled = load_digits()
    name, images, labels = data_set or ("bundled digits", bundled.images, bundled.labels)
    if len(images) != len(labels) or not len(images):
        raise InputError(f"{name}: found {len(images)} images and {len(labels)} labels")
    shape = manifest.preprocessing, manifest.image_shape
    digits = mnist_batch(bundled.images, *shape)
    if (found := output_name(reference, digits)) != manifest.output:
        raise ArtifactError(
            f"{session.artifact.path}: expected a module that answers {manifest.output}, as "
            f"what was exported, found {found}; pass that very module"
        )
    batches = proof_batches(session, digits, proof_sizes(session, batch_sizes), seed)
    return Verification(
        prove(session, reference, batches, bundled.images),
        _data_set(session, reference, name, mnist_batch(images, *shape), labels),
        _invariance(session, digits, seed),
    )


def _require_same_weights(session: Session, module: nn.Module) -> None:
    expected, found = session.manifest.weights_sha256, weights.fingerprint(module)
    if expected != found:
        raise ArtifactError(
            f"{session.artifact.path}: expected the weights it was exported from, SHA-256 "
            f"{expected}, found {found}; pass the module that has them"
        )


def _data_set(
    session: Session,
    reference: Reference,
    name: str,
    images: NDArray[np.float32],
    labels: NDArray[np.integer[Any]],
) -> DataSetReport:
    chunk = session.manifest.batch_size or min(_CHUNK, len(images))
    found = run_filled(session.run, images, chunk)
    chunks = [images[start : start + chunk] for start in range(0, len(images), chunk)]
    expected = np.concatenate([reference.eager(c) for c in chunks])
    exact = np.concatenate([reference.exact(c) for c in chunks])
    manifest = session.manifest
    tolerance = TOLERANCES[manifest.precision]
    eager_top, found_top = expected.argmax(axis=1), found.argmax(axis=1)
    ranked = np.sort(expected, axis=1)
    flips = tuple(
        Flip(
            index=int(i),
            label=int(labels[i]),
            eager=int(eager_top[i]),
            found=int(found_top[i]),
            margin=float(ranked[i, -1] - ranked[i, -2]),
        )
        for i in np.flatnonzero(eager_top != found_top)
    )
    return DataSetReport(
        name,
        compare(found, expected, tolerance, inputs="digits", exact=exact, output=manifest.output),
        float((eager_top == labels).mean()),
        float((found_top == labels).mean()),
        flips,
    )


def _invariance(session: Session, digits: NDArray[np.float32], seed: int) -> tuple[Invariance, ...]:
    """Each change leaves some images as they were and looks whether their logits stayed."""
    size = session.manifest.batch_size
    batch = digits if size is None else np.resize(digits, (size, *digits.shape[1:]))
    plain, count = session.run(batch), len(batch)
    order = np.random.default_rng(seed).permutation(count)
    first = np.repeat(batch[:1], count, axis=0)
    changed: list[tuple[str, NDArray[np.float32], NDArray[np.float32]]] = []
    if count > 1:
        changed += [
            ("permuted", session.run(batch[order]), plain[order]),
            ("filled with one image", session.run(first), np.repeat(plain[:1], count, axis=0)),
        ]
    if size is None:
        padded = np.concatenate([batch, np.full_like(batch, batch.min())])
        alone = np.concatenate([session.run(batch[i : i + 1]) for i in range(count)])
        changed += [
            ("duplicated", session.run(np.concatenate([batch, batch]))[count:], plain),
            ("padded with black", session.run(padded)[:count], plain),
            ("taken apart, one image at a time", alone, plain),
        ]
    tolerance = TOLERANCES[session.manifest.precision]
    return tuple(
        Invariance(
            change,
            compare(found, expected, tolerance, output=session.manifest.output),
            bool((found == expected).all()),
        )
        for change, found, expected in changed
    )
