"""Latency of all that passed parity, side by side in one process, one batch size after the other.

The result is written after each batch size, and who is at work stands in a file of its own, so that
a process that dies leaves what it measured and the name of who brought it down.
"""

import gc
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_check import GRAPHS_UP_TO, MOST
from benchmarks.gpu_check.jobs import tidy
from benchmarks.gpu_check.participants import Participant, opened
from lenet_bench import LatencyResult, Settings, fingerprint, measure
from lenet_bench.field import Contender, Field
from lenet_bench.gpu.harness import DeviceHarness, Hooks
from lenet_bench.harness import Engine
from lenet_bench.report import Run

LARGE = 8192  # images, from which on fewer samples do


def settings_of(size: int, *, quick: bool) -> Settings:
    """Short, because there are many engines; the record keeps every sample."""
    if quick:
        return Settings(0.02, 5, 0.02)
    return Settings(0.1, 8, 0.02) if size >= LARGE else Settings(0.1, 20, 0.05)


def latency(arguments: dict[str, Any], write: Callable[[dict[str, Any]], None]) -> None:
    """Load everything, then one batch size after the other until time is up.

    Args:
        arguments: ``participants``, ``sizes``, ``device``, ``seconds``, ``doing`` (the path of the
            file that says who is at work) and ``quick``.
        write: Called with the document so far.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # for all alike; other jobs have more, see `jobs`
    end = time.monotonic() + arguments["seconds"]
    sizes, device, quick = (arguments[key] for key in ("sizes", "device", "quick"))
    field, results, where = Field(), [], fingerprint(device)
    participants = [Participant(**one) for one in arguments["participants"]]
    hooks = Hooks(
        skip=lambda name, reason: field.skip(name, tidy(reason)),
        doing=Path(arguments["doing"]).write_text,
    )

    def document(gpu: DeviceHarness) -> dict[str, Any]:
        details = {contender.name: contender.details for contender in field.contenders}
        section = replace(gpu.section(), skipped=())  # all of it is in the run's
        return Run(
            settings_of(1, quick=quick), where, tuple(results), details, field.baseline,
            tuple(field.skipped), device=section,
        ).to_dict()  # fmt: skip

    with ExitStack() as stack:
        load(participants, field, stack, hooks)
        with DeviceHarness(device) as gpu:
            for place, size in enumerate(sizes):
                now, sizes_left = time.monotonic(), len(sizes) - place
                if now >= end:
                    hooks.skip(f"batch {size}", "no time was left for it")
                    continue
                until = now + (end - now) * max(MOST, 1 / sizes_left)
                stop = partial(passed, until)
                timed, settings = replace(hooks, stop=stop), settings_of(size, quick=quick)
                able = able_at(size, participants, field, hooks)
                predictors = {contender.name: contender.predictor for contender in able}
                graphs = (False, True) if size <= GRAPHS_UP_TO else (False,)
                gpu.measure(predictors, [size], settings, timed, graphs)
                results += whole_calls(able, size, settings, timed)
                gc.collect()
                write(document(gpu))
        write(document(gpu))


def passed(moment: float) -> bool:
    """Whether the monotonic clock is at this moment or later."""
    return time.monotonic() >= moment


def load(participants: list[Participant], field: Field, stack: ExitStack, hooks: Hooks) -> None:
    """Let all take part that can be loaded; `stack` closes them."""
    for participant in participants:
        hooks.doing(participant.name)
        try:
            field.contenders.append(stack.enter_context(opened(participant)))
        except Exception as error:  # engines raise anything
            hooks.skip(participant.name, f"loading: {type(error).__name__}: {error}")


def able_at(
    size: int, participants: list[Participant], field: Field, hooks: Hooks
) -> list[Contender]:
    """Those that run batches of this size: all but the peers that were not compiled for it."""
    late = {one.name for one in participants if one.compiled and size not in one.sizes}
    for contender in field.contenders:
        if contender.name in late:
            hooks.skip(contender.name, f"batch {size}: it was not compiled for it in time")
    return [contender for contender in field.contenders if contender.name not in late]


def whole_calls(
    contenders: list[Contender], size: int, settings: Settings, hooks: Hooks
) -> list[LatencyResult]:
    """The calls of those that can do this size, by the host's clock."""
    calls: dict[str, Engine] = {}
    images = np.zeros((size, 1, 32, 32), np.float32)
    for contender in contenders:
        hooks.doing(contender.name)
        try:
            contender.run(images)
        except Exception as error:  # engines raise anything
            hooks.skip(contender.name, f"batch {size}: {type(error).__name__}: {error}")
        else:
            calls[contender.name] = contender.run
    hooks.doing("")
    return measure(calls, [size], settings, stop=hooks.stop) if calls else []
