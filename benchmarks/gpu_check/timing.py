"""Latency of all that passed parity, side by side in one process, one batch size after the other.

The result is written after each batch size, and who is at work stands in a file of its own, so that
a process that dies leaves what it measured and the name of who brought it down.
"""

import dataclasses
import gc
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_check import GRAPHS_UP_TO
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
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    end, device, field = time.monotonic() + arguments["seconds"], arguments["device"], Field()
    doing, quick, results = Path(arguments["doing"]).write_text, arguments["quick"], []

    def skip(name: str, reason: str) -> None:
        field.skip(name, tidy(reason))

    def document(gpu: DeviceHarness) -> dict[str, Any]:
        details = {contender.name: contender.details for contender in field.contenders}
        section = dataclasses.replace(gpu.section(), skipped=())  # all of it is in the run's
        return Run(
            settings_of(1, quick=quick), where, tuple(results), details, field.baseline,
            tuple(field.skipped), device=section,
        ).to_dict()  # fmt: skip

    where = fingerprint(device)
    with ExitStack() as stack:
        participants = [Participant(**one) for one in arguments["participants"]]
        for participant in participants:
            doing(participant.name)
            try:
                field.contenders.append(stack.enter_context(opened(participant)))
            except Exception as error:  # engines raise anything
                skip(participant.name, f"loading: {type(error).__name__}: {error}")
        compiled = {one.name: one.sizes for one in participants if one.compiled}
        with DeviceHarness(device) as gpu:
            for place, size in enumerate(arguments["sizes"]):
                now, sizes_left = time.monotonic(), len(arguments["sizes"]) - place
                if now >= end:
                    skip(f"batch {size}", "no time was left for it")
                    continue
                until = now + (end - now) / sizes_left * (1 if sizes_left == 1 else 1.5)
                settings, able = settings_of(size, quick=quick), []
                for contender in field.contenders:
                    if size in compiled.get(contender.name, [size]):
                        able.append(contender)
                    else:
                        skip(contender.name, f"batch {size}: it was not compiled for it in time")
                predictors = {contender.name: contender.predictor for contender in able}
                hooks = Hooks(skip, doing, stop=lambda until=until: time.monotonic() >= until)
                graphs = (False, True) if size <= GRAPHS_UP_TO else (False,)
                gpu.measure(predictors, [size], settings, hooks, graphs)
                results += whole_calls(able, size, settings, hooks)
                gc.collect()
                write(document(gpu))
        write(document(gpu))


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
