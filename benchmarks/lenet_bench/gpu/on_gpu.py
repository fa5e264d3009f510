"""`DeviceSection`: what a run measured on a GPU beyond whole calls; a part of the report."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lenet_bench.gpu import device_result
from lenet_bench.gpu.device_result import DeviceResult, Split, split
from lenet_bench.result import LatencyResult
from lenet_runtime.backends.protocol import Predictor

# What the memory of a float32 image is, that every engine has to read.
BYTES_PER_IMAGE = 4096


@dataclass(frozen=True)
class DeviceSection:
    """The steps of every engine, and what bounds them.

    Attributes:
        device: ``cuda:N``.
        results: one per engine, batch size and graph mode.
        bytes_per_second: of device memory, read and written by a large copy within it.
        copy_bytes: that this copy had.
        state: see `lenet_bench.gpu.gpu_state.Watch.summary`.
        uses_graph: for each engine and batch size, as ``[engine, batch_size, uses]``, whether its
            whole calls launch a graph, where the engine tells.
        skipped: ``engine`` and ``reason`` of what could not be measured.
    """

    device: str
    results: tuple[DeviceResult, ...] = ()
    bytes_per_second: float | None = None
    copy_bytes: int | None = None
    state: dict[str, Any] = field(default_factory=dict)
    uses_graph: tuple[tuple[str, int, bool], ...] = ()
    skipped: tuple[dict[str, str], ...] = ()

    def find(self, engine: str, batch_size: int, *, graph: bool) -> DeviceResult | None:
        """The result of an engine, batch size and mode, if it was measured."""
        for result in self.results:
            if (result.engine, result.batch_size, result.graph) == (engine, batch_size, graph):
                return result
        return None

    def best(self, engine: str, batch_size: int) -> DeviceResult | None:
        """The faster of an engine's modes, by the median of ``device``."""
        modes = (self.find(engine, batch_size, graph=graph) for graph in (False, True))
        return min(filter(None, modes), key=lambda result: result.p50_us(), default=None)

    def splits(self, host: Sequence[LatencyResult]) -> tuple[Split, ...]:
        """Each of `host` whose steps were measured, split into them.

        The steps are those of the mode that the engine's calls use, or of the one with the lower
        ``device_single`` where the engine does not tell.
        """
        uses = {(engine, size): graph for engine, size, graph in self.uses_graph}
        found = []
        for result in host:
            key = (result.engine, result.batch_size)
            modes = [r for r in self.results if (r.engine, r.batch_size) == key]
            told = [r for r in modes if r.graph == uses.get(key)]
            if modes:
                steps = min(told or modes, key=lambda r: r.p50_us("device_single"))
                found.append(split(steps, result))
        return tuple(found)

    def to_json(self, host: Sequence[LatencyResult]) -> dict[str, Any]:
        """The section of the JSON report; `host` are the whole calls of the same run."""
        rows = []
        for result in self.results:
            row = device_result.to_json(result)
            rate = self.bytes_per_second
            share = None if rate is None else result.bytes_share(rate, BYTES_PER_IMAGE)
            rows.append(row | {"share_of_memory_bound": share})
        return {
            "device": self.device,
            "copy_bytes_per_second": self.bytes_per_second,
            "copy_bytes": self.copy_bytes,
            "bytes_per_image": BYTES_PER_IMAGE,
            "state": self.state,
            "uses_graph": [list(one) for one in self.uses_graph],
            "splits": [dataclasses.asdict(one) for one in self.splits(host)],
            "skipped": list(self.skipped),
            "results": rows,
        }


def from_json(document: dict[str, Any]) -> DeviceSection:
    """The section that `to_json` wrote; raises KeyError, TypeError or ValueError for another."""
    if not all(isinstance(one, dict) for one in (document["state"], *document["skipped"])):
        raise ValueError("device: expected objects in state and skipped")
    rate, size = document["copy_bytes_per_second"], document["copy_bytes"]
    return DeviceSection(
        str(document["device"]),
        tuple(map(device_result.from_json, document["results"])),
        None if rate is None else float(rate),
        None if size is None else int(size),
        document["state"],
        tuple((str(e), int(n), bool(g)) for e, n, g in document["uses_graph"]),
        tuple(document["skipped"]),
    )


def uses_graph(engine: str, predictor: Predictor, size: int) -> list[tuple[str, int, bool]]:
    """The entry of `DeviceSection.uses_graph`; none where the engine does not tell."""
    uses = predictor.uses_graph(size)
    return [] if uses is None else [(engine, size, uses)]
