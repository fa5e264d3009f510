"""What an export proves: each way a session has to the logits, at each turn that a batch takes."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lenet_export.network.reference import Reference
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import Preprocessing, to_batch
from lenet_runtime.parity import ParityReport, check_parity
from lenet_runtime.session import Session


def mnist_batch(images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """The network's input from 28x28 digits, also where `preprocessing` pads by another margin,
    as that of a network does which was trained on pictures of another size."""
    if images.shape[1:] == (28, 28):
        images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    return to_batch(images, preprocessing)


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
    precision, predictor = session.manifest.precision, session.predictor
    answers = [(reference.eager(images), reference.exact(images)) for _, images in batches]

    def report(run: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> ParityReport:
        eager, exact = iter(answers), iter(answers)
        return check_parity(
            run, lambda _: next(eager)[0], lambda _: next(exact)[1], batches, precision
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
        pairs = [("pixels", to_batch(each, session.manifest.preprocessing)) for each in raw]
        prepared = iter(raw)
        check_parity(
            lambda _: run_pixels(next(prepared)), reference.eager, reference.exact, pairs, precision
        ).require(f"{session.backend} on raw digits")
    return proof
