"""`lenet-deploy bench --scope pictures`: what decoding and preparing pictures costs."""

import dataclasses
import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lenet_runtime
from lenet_deploy import cache
from lenet_deploy.cli.bench_outputs import STDOUT, Outputs
from lenet_deploy.cli.console import note, plain, print_json, progress, share_done, stdout, table
from lenet_runtime.artifact.files import write_atomically
from lenet_runtime.errors import InputError

if TYPE_CHECKING:
    from lenet_bench.harness import Settings
    from lenet_bench.pictures import Cost


class Scope(Enum):
    """What a sample spans."""

    session = "session"
    pictures = "pictures"


def bench_pictures(
    paths: list[Path],
    settings: "Settings",
    outputs: Outputs,
    load: dict[str, Any],
) -> None:
    """Measure one session on drawn pictures, and print a table or write JSON.

    Args:
        paths: The artifact; empty for the bundled one.
        settings: How to measure.
        outputs: Where to write.
        load: Backend, device, threads and trust of `lenet_runtime.load`.

    Raises:
        InputError: Several artifacts were named, or a report that only sessions have.
        DeployError: The artifact cannot be loaded, or Pillow is missing.
    """
    from lenet_bench import fingerprint, pictures

    if len(paths) > 1:
        raise InputError(
            "--scope pictures: expected one artifact at most; preparing takes most of the time, "
            "and is the same for all"
        )
    if outputs.csv or outputs.html:
        raise InputError("--scope pictures writes --json alone, neither --csv nor --html")
    outputs.check(None)
    with progress() as step:
        path = paths[0] if paths else cache.default_artifact(progress=step)
        step("drawing pictures")
        files = pictures.drawn()
    with lenet_runtime.load(path, **load) as session:
        with share_done() as report:
            costs = pictures.measure_pictures(session, files, settings, report)
        engine = f"{session.artifact.path.name} on {session.backend}"
    where = fingerprint(load["device"])
    document = {
        "scope": "pictures",
        "engine": engine,
        "fingerprint": where,
        "pictures": [dataclasses.asdict(cost) for cost in costs],
    }
    if outputs.json == STDOUT:
        print_json(document)
        return
    _print(costs, engine, str(where["machine"]["cpu"]))
    if outputs.json is not None:
        write_atomically(outputs.json, f"{json.dumps(document, allow_nan=False)}\n".encode())
        note(f"wrote {plain(outputs.json)}")


def _print(costs: "list[Cost]", engine: str, cpu: str) -> None:
    from lenet_bench.pictures import STEPS

    steps = (*STEPS, "whole")
    wall = [f"{step}\nwall" for step in steps]
    rows = table(
        "one picture a call", *steps, *wall, "rounds",
        title="Milliseconds of CPU time for a picture, by step, and of the wall's clock; medians",
        caption=f"{plain(engine)}; {plain(cpu)}",
        drop=("rounds", *wall[-2::-1]),
        legend={
            "decode": "the file's bytes to an image; a large JPEG directly to a smaller one",
            "prepare": "the image to the network's input: finding the digit, scaling, centring",
            "network": "one call of the engine",
        },
    )  # fmt: skip
    for cost in costs:
        times = [*cost.cpu_ms.values(), *cost.wall_ms.values()]
        rows.add_row(plain(cost.picture), *(f"{ms:.3f}" for ms in times), str(cost.rounds))
    stdout.print(rows)
