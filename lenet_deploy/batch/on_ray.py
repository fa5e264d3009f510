"""The Ray engine: a job's parts on the actors of a cluster, each the local engine's `Worker`.

Ray Data only hands out parts and brings back what became of each. The answers an actor writes
itself, by way of a rename, so that a part which is begun again after its actor died replaces, and
never doubles, what was there; Ray Data's own writers would append.
"""

import logging
import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lenet_runtime
from lenet_deploy.batch.job import PartDone, Parts
from lenet_deploy.batch.parts import Part
from lenet_deploy.batch.worker import Report, Settings, Worker
from lenet_deploy.cluster import connected
from lenet_runtime.errors import DeployError, InputError, first_line

_BLOCKS = 64  # of parts for each actor: what Ray hands out at once


class Actor:
    """A `Worker` as Ray Data calls it, with a batch of one part."""

    def __init__(self, settings: Settings, output: Parts) -> None:
        self._worker = Worker(settings, output)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Write a part: what became of it, or our error, whose text alone Ray would bring."""
        (part,) = batch["part"]
        try:
            done: PartDone | DeployError = self._worker(pickle.loads(part))  # noqa: S301  our own
        except DeployError as error:
            done = error
        return {"done": [pickle.dumps(done)]}


def run(
    parts: Iterable[Part],
    settings: Settings,
    output: Parts,
    *,
    workers: int | None,
    report: Report,
    address: str | None,
) -> Iterator[PartDone]:
    """Write the parts on a cluster; yields each as it is done.

    Args:
        parts: The parts.
        settings: What to do with each.
        output: What writes them: on storage that all nodes see by the same path, as the inputs are.
        workers: Actors, of one core each; None for as many as the cluster has cores.
        report: Hears nothing: what is under way is known to the actors alone.
        address: The cluster; see `lenet_deploy.cluster.connected`.

    Raises:
        DeployError: There is no cluster, it was lost, or a part cannot be read, answered or
            written.
        InputError: A node does not see the output's folder, or a file of the inputs.
    """
    work = list(parts)
    if not work:
        return
    # What cannot be loaded is said here and now, and not by an actor that dies of it.
    lenet_runtime.load(settings.artifact, threads=1, trust=settings.trust).close()
    with connected(address, cpus=workers) as ray:
        firsts = [part.files[0].path for part in (work[0], work[-1]) if part.files]
        inputs = [Path(path) for path in firsts if "://" not in path]
        try:
            check_nodes(ray, [output.folder, *inputs])
            actors = min(workers or int(ray.cluster_resources().get("CPU", 1)), len(work))
            for row in _answers(ray, work, settings, output, actors):
                done: PartDone | DeployError = pickle.loads(row["done"])  # noqa: S301  our actors'
                if isinstance(done, DeployError):
                    raise done
                yield done
        except ray.exceptions.RayError as error:
            raise DeployError(f"Ray: {first_line(error)}; go on with resume=True") from error


def _answers(
    ray: Any, parts: list[Part], settings: Settings, output: Parts, actors: int
) -> Iterator[dict[str, bytes]]:
    ray.data.DataContext.get_current().enable_progress_bars = False  # there is one of ours
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    blocks = min(len(parts), _BLOCKS * actors)
    rows: Iterator[dict[str, bytes]] = (
        ray.data.from_items([{"part": pickle.dumps(p)} for p in parts], override_num_blocks=blocks)
        .map_batches(
            Actor, fn_constructor_args=(settings, output), batch_size=1, num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=actors),
        )
        .iter_rows()
    )  # fmt: skip
    return rows


def check_nodes(ray: Any, paths: list[Path]) -> None:
    """See that each node of a cluster finds the paths.

    Raises:
        InputError: One does not: it would write where nobody looks.
    """
    pinned = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    nodes = [node for node in ray.nodes() if node["Alive"]]
    look = ray.remote(num_cpus=0)(lambda: next((str(p) for p in paths if not p.exists()), ""))
    looks = [
        look.options(scheduling_strategy=pinned(node["NodeID"], soft=False)).remote()
        for node in nodes
    ]
    for node, missing in zip(nodes, ray.get(looks), strict=True):
        if missing:
            raise InputError(
                f"{missing}: expected it on storage that all nodes of the cluster see, but "
                f"{node['NodeManagerAddress']} does not"
            )
