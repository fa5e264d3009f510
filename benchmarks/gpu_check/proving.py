"""Parity on the GPU: whole calls at every batch size, and the steps that are timed."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu_check.participants import Participant, opened
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.errors import DeployError, DeviceMemoryError, ParityError
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch
from lenet_runtime.parity import TOLERANCES, compare, parity_batches

CHUNK = 4096  # images that eager computes at once on the CPU
STAGED_UP_TO = 1024  # images; above it the steps differ from whole calls in nothing but size


def batches(sizes: Sequence[int]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Noise and digits of each size, always the same ones of a size."""
    digits = to_batch(load_digits().images, Preprocessing())
    for size in sizes:
        yield from parity_batches(digits, [size], seed=size)


def references(arguments: dict[str, Any], write: Any) -> None:
    """Eager's answers on the CPU in float32 and float64, once for all engines.

    `lenet_export.verify` computes them for each engine anew, which would take the whole budget.
    """
    from lenet_deploy.training.checkpoint import load_checkpoint
    from lenet_export.network.reference import Reference

    reference, answers, start = Reference(load_checkpoint()), {}, time.perf_counter()
    for name, images in batches(arguments["sizes"]):
        parts = [images[i : i + CHUNK] for i in range(0, len(images), CHUNK)]
        for kind, answer in (("eager", reference.eager), ("exact", reference.exact)):
            answers[f"{name}-{len(images)}-{kind}"] = np.concatenate(list(map(answer, parts)))
    np.savez(arguments["path"], **answers)
    write({"seconds": time.perf_counter() - start})


def parity(arguments: dict[str, Any], write: Any) -> None:
    """Hold one engine against the references; a difference is in the result, not raised."""
    participant = Participant(**arguments["participant"])
    comparisons, steps, skipped = [], [], []
    with np.load(Path(arguments["references"])) as answers, opened(participant) as contender:
        for name, images in batches(arguments["sizes"]):
            where = f"{name}-{len(images)}"
            eager, exact = answers[f"{where}-eager"], answers[f"{where}-exact"]

            def row(logits: Any, name: str = name, eager: Any = eager, exact: Any = exact) -> Any:
                tolerance = TOLERANCES[participant.precision]
                return asdict(compare(logits, eager, tolerance, inputs=name, exact=exact))

            try:
                comparisons.append(row(contender.run(images)))
            except DeviceMemoryError as error:
                skipped.append(f"batch {len(images)}: {error}")
                continue
            if len(images) <= STAGED_UP_TO or participant.folder is None:
                for graph in (False, True):
                    logits = staged_logits(contender.predictor, images, graph, skipped)
                    if logits is not None:
                        steps.append(row(logits) | {"graph": graph})
            ok = not any(row["reason"] for row in comparisons + steps)
            result = {"comparisons": comparisons, "steps": steps, "skipped": skipped, "ok": ok}
            write(result | {"precision": participant.precision})
    if not comparisons:
        raise ParityError(f"{participant.name} was not compared with eager at all")


def staged_logits(
    predictor: Predictor, images: NDArray[np.float32], graph: bool, skipped: list[str]
) -> NDArray[np.float32] | None:
    """The answer of the steps that latency is measured of; None where there are no such steps.

    Steps that fail are not timed, but whole calls may be.
    """
    mode = f"steps {'with' if graph else 'without'} a graph"
    try:
        stages = predictor.stages(images, graph=graph) if predictor.stages else None
        if stages is None:
            return None
        with closing(stages):
            for step in (stages.upload, stages.compute, stages.download):
                step()
            logits = stages.answer()
            stages.compute()  # again, as the benchmark does
            stages.download()
            if not np.array_equal(stages.answer(), logits):
                skipped.append(f"{mode}: a repeated computation differs")
            return logits
    except DeployError as error:
        skipped.append(f"{mode}, batch {len(images)}: {error}")
        return None
