"""What an export proves: each way a session has to the logits, at each turn that a batch takes."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lenet_export.network.reference import Reference
from lenet_runtime.artifact import Manifest
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import InputError
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.pixels import nearest_pixels
from lenet_runtime.images.preprocess import (
    Preprocessing,
    centred,
    normalise,
    to_batch,
)
from lenet_runtime.parity import Classifier, ParityReport, check_parity, parity_batches
from lenet_runtime.plans.chunks import run_filled
from lenet_runtime.session import Session

DIGIT_LABELS = tuple("0123456789")


def mnist_batch(
    images: NDArray[np.uint8], preprocessing: Preprocessing, image_shape: tuple[int, int, int]
) -> NDArray[np.float32]:
    """The input of a network of this ``(C, H, W)`` from 28x28 digits, in the middle of black.

    Digits that are larger lose their borders; and the padding may be of pictures of another size.
    """
    return to_batch(centred(images, *image_shape[1:]), preprocessing, image_shape)


def bundled_right(run: Classifier, manifest: Manifest) -> int | None:
    """How many of the 60 bundled digits are answered rightly.

    Args:
        run: `Session.run`, or `Reference.eager` of the module.
        manifest: of the artifact.

    Returns:
        None where the network does not answer with digits, or takes three channels, as those for
        photos do.
    """
    if set(manifest.labels) != set(DIGIT_LABELS) or manifest.image_shape[0] != 1:
        return None
    digits = load_digits()
    images = mnist_batch(digits.images, manifest.preprocessing, manifest.image_shape)
    answers = run_filled(run, images, manifest.batch_size or len(images)).argmax(axis=1)
    right = [manifest.labels[a] == str(d) for a, d in zip(answers, digits.labels, strict=True)]
    return int(sum(right))


def check_batch_sizes(batch_sizes: Sequence[int]) -> None:
    """Raise `InputError` unless there is a size and all are positive integers."""
    if not batch_sizes or not all(type(size) is int and size > 0 for size in batch_sizes):
        raise InputError(f"batch sizes: expected positive integers, found {list(batch_sizes)}")


def proof_sizes(session: Session, batch_sizes: Sequence[int]) -> tuple[int, ...]:
    """`batch_sizes`, and those that reach whatever the session does with a batch.

    That is the largest batch of each program of the engine, or way to handle a batch, and the
    least of the next; and where the session cuts batches into chunks, one that is cut. A static
    artifact has its own size alone.
    """
    size = session.manifest.batch_size
    if size is not None:
        return (size,)
    backend = BACKENDS.get(session.backend)  # a plan has none; its router tells all
    starts = backend.starts(session.artifact) if backend else ()
    turns = {*starts, *session.predictor.switches} - {1}
    sizes = {*batch_sizes, *turns, *(turn - 1 for turn in turns)}
    if session.chunk is not None and max(sizes) < 2 * session.chunk:
        sizes.add(2 * session.chunk + 1)
    return tuple(sorted(sizes))


def proof_batches(
    session: Session, digits: NDArray[np.float32], sizes: Sequence[int], seed: int = 0
) -> list[tuple[str, NDArray[np.float32]]]:
    """The batches of `parity_batches`; noise is rounded to pixels where the engine takes no other.

    Args:
        session: what is proven.
        digits: prepared digits.
        sizes: of the batches, see `proof_sizes`.
        seed: of the noise.
    """
    batches = list(parity_batches(digits, sizes, seed))
    if not session.predictor.pixels_only:
        return batches
    pixels, shape = session.manifest.preprocessing, session.manifest.image_shape
    padding, side = pixels.padding, shape[1] - pixels.padding
    return [
        (
            name,
            normalise(
                nearest_pixels(images, pixels)[:, 0, padding:side, padding:side], pixels, shape
            ),
        )
        for name, images in batches
    ]


def prove(
    session: Session,
    reference: Reference,
    batches: Sequence[tuple[str, NDArray[np.float32]]],
    pixels: NDArray[np.uint8],
) -> ParityReport:
    """Hold each way to the logits that a session has against the module.

    The report is of `Session.run`. The engine itself is compared on the same batches, unchecked and
    whole, as ``check_finite=False`` and a plan run it; and so are raw digits, of an engine that
    prepares them. Each batch thus runs twice at least, the second time as its size is run for good:
    from a graph, say.

    Args:
        session: as `load` gives it.
        reference: the module.
        batches: each with the kind of its images.
        pixels: digits, uint8 ``(N, 28, 28)``, for the batches of raw digits.

    Raises:
        ParityError: a way other than `Session.run` differs from the module.
    """
    manifest, predictor = session.manifest, session.predictor
    precision, output = manifest.precision, manifest.output
    answers = [(reference.eager(images), reference.exact(images)) for _, images in batches]

    def report(run: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> ParityReport:
        eager, exact = iter(answers), iter(answers)
        return check_parity(
            run,
            lambda _: next(eager)[0],
            lambda _: next(exact)[1],
            batches,
            precision,
            output=output,
        )

    proof = report(session.run)
    if not proof.ok:
        return proof
    report(predictor.run).require(f"{session.backend}, unchecked and whole,")
    run_pixels = predictor.run_pixels
    if run_pixels is not None:
        raw = [
            np.ascontiguousarray(np.resize(pixels, (size, 28, 28)))
            for size in dict.fromkeys(len(images) for _, images in batches)
        ]
        pairs = [
            ("pixels", to_batch(each, manifest.preprocessing, manifest.image_shape)) for each in raw
        ]
        prepared = iter(raw)
        check_parity(
            lambda _: run_pixels(next(prepared)),
            reference.eager,
            reference.exact,
            pairs,
            precision,
            output=output,
        ).require(f"{session.backend} on raw digits")
    return proof
