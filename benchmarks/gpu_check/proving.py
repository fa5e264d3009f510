"""Parity on the GPU: whole calls at every batch size, and the steps that are timed."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu_check.engines import Engine, opened
from lenet_runtime.errors import DeployError, DeviceMemoryError, ParityError
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch
from lenet_runtime.parity import Comparison, check_parity, parity_batches

CHUNK = 4096  # images that eager computes at once on the CPU
STAGED_UP_TO = 1024  # images; above it the steps differ from whole calls in nothing but size


def batches(sizes: Sequence[int]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Noise and digits of each size, always the same ones of a size."""
    digits = to_batch(load_digits().images, Preprocessing())
    for size in sizes:
        yield from parity_batches(digits, [size], seed=size)


def references(arguments: dict[str, Any], write: Any) -> None:
    """Eager's answers on the CPU in float32 and float64, once for all engines."""
    from lenet_deploy.training.checkpoint import load_checkpoint
    from lenet_export.network.reference import Reference

    reference, answers, start = Reference(load_checkpoint()), {}, time.perf_counter()
    for name, images in batches(arguments["sizes"]):
        key = f"{name}-{len(images)}"
        parts = [images[i : i + CHUNK] for i in range(0, len(images), CHUNK)]
        answers[f"{key}-eager"] = np.concatenate([reference.eager(part) for part in parts])
        answers[f"{key}-exact"] = np.concatenate([reference.exact(part) for part in parts])
    np.savez(arguments["path"], **answers)
    write({"seconds": time.perf_counter() - start})


def parity(arguments: dict[str, Any], write: Any) -> None:
    """Hold one engine against the references; `ParityError` is in the result, not raised."""
    engine = Engine(**arguments["engine"])
    found: dict[str, Any] = {
        "precision": engine.precision, "comparisons": [], "steps": [], "skipped": [], "ok": False,
    }  # fmt: skip
    with np.load(Path(arguments["references"])) as answers, opened(engine) as runner:
        for name, images in batches(arguments["sizes"]):
            expected = tuple(answers[f"{name}-{len(images)}-{kind}"] for kind in ("eager", "exact"))
            try:
                compared = _compare(runner.run, expected, (name, images), engine.precision)
            except DeviceMemoryError as error:
                found["skipped"].append(f"batch {len(images)}: {error}")
                continue
            found["comparisons"].append(_row(compared))
            if len(images) <= STAGED_UP_TO or engine.peer:
                found["steps"] += _steps(runner, expected, (name, images), engine.precision, found)
            found["ok"] = all(not row["reason"] for row in found["comparisons"] + found["steps"])
            write(found)
    if not found["comparisons"]:
        raise ParityError(f"{engine.name} was not compared with eager at all")


def _compare(run: Any, expected: Any, batch: Any, precision: str) -> Comparison:
    eager, exact = expected
    return check_parity(run, lambda _: eager, lambda _: exact, [batch], precision).comparisons[0]


def _steps(
    runner: Any, expected: Any, batch: Any, precision: str, found: dict[str, Any]
) -> list[dict[str, Any]]:
    """The steps that latency is measured of must answer rightly, too, in both modes.

    Steps that fail are not timed, but whole calls may be.
    """
    rows = []
    make_stages = runner.predictor.stages
    if make_stages is None:
        return rows
    for graph in (False, True):

        def answer(images: NDArray[np.float32], graph: bool = graph) -> NDArray[np.float32]:
            stages = make_stages(images, graph=graph)
            if stages is None:
                raise LookupError
            try:
                for step in (stages.upload, stages.compute, stages.download):
                    step()
                first = stages.answer()
                stages.compute()  # again, as the benchmark does
                stages.download()
                if not np.array_equal(stages.answer(), first):
                    found["skipped"].append(f"{_mode(graph)}: a repeated computation differs")
                return first
            finally:
                stages.close()

        try:
            compared = _compare(answer, expected, batch, precision)
        except LookupError:
            continue  # there is no such mode
        except DeployError as error:
            found["skipped"].append(f"{_mode(graph)}, batch {len(batch[1])}: {error}")
            continue
        rows.append(_row(compared) | {"graph": graph})
    return rows


def _mode(graph: bool) -> str:
    return "steps with a graph" if graph else "steps without a graph"


def _row(compared: Comparison) -> dict[str, Any]:
    return {
        "inputs": compared.inputs,
        "batch_size": compared.batch_size,
        "max_abs_diff": compared.max_abs_diff,
        "worst_share": compared.worst_share,
        "top1_agreement": compared.top1_agreement,
        "eager_error": compared.eager_error,
        "reason": compared.reason,
    }
