"""What was measured on a GPU: raw samples of an engine's steps, and where a call's time goes."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lenet_bench.result import LatencyResult, Rounds, rounds_from_json, rounds_to_json

# The memory of a float32 image, which every engine has to read.
BYTES_PER_IMAGE = 4096
# What each figure is stands in `DeviceResult.rounds_ns`.
FIGURES = ("device", "device_single", "launch", "upload", "download")
# Where fewer of the samples had their launches queued in time, reports mark the figure.
MOSTLY = 0.9


@dataclass(frozen=True)
class DeviceResult:
    """One engine at one batch size, with or without a CUDA graph.

    Attributes:
        engine: The engine's name in this run.
        batch_size: Images in the batch.
        graph: Whether a captured CUDA graph was launched, or every kernel by itself.
        rounds_ns: For each of `FIGURES` the samples in nanoseconds, by round.

            - ``device``: the GPU's time for one computation, of `repeats` back to back that were
              all queued before the first began. Launches are hidden: it is what the kernels take.
            - ``device_single``: the GPU's time from just before one computation is launched to its
              end, on a stream that was idle. It includes what the launch keeps the GPU waiting.
            - ``launch``: the host's time in that launch.
            - ``upload``, ``download``: the GPU's time for one copy of the images from pinned host
              memory, and of the logits to it.
        repeats: Computations or copies in one sample of each figure, which is their mean.
        hidden_share: Share of the samples of ``device`` in which all launches were queued in time;
            0 to 1. Where it is low, ``device`` is the rate at which the host launches.
        warm: Whether the warm-up ended because the engine had settled, not because time was up.
    """

    engine: str
    batch_size: int
    graph: bool
    rounds_ns: Mapping[str, Rounds]
    repeats: Mapping[str, int] = field(default_factory=dict)
    hidden_share: float = 1.0
    warm: bool = True

    @property
    def name(self) -> str:
        """The engine's name, and whether it launched a graph."""
        return f"{self.engine} (graph)" if self.graph else self.engine

    def latency(self, figure: str = "device", name: str | None = None) -> LatencyResult:
        """One figure as a result of its own, for percentiles and ratios."""
        rounds, repeats = self.rounds_ns[figure], self.repeats.get(figure, 1)
        return LatencyResult(name or self.name, self.batch_size, rounds, repeats, self.warm)

    def p50_us(self, figure: str = "device") -> float:
        """Median of one figure in microseconds."""
        return self.latency(figure).percentile_us(50)

    @property
    def images_per_second(self) -> float:
        """Images over the median of ``device``: what the GPU alone could do."""
        return self.batch_size / self.p50_us() * 1e6

    def bytes_share(self, bytes_per_second: float) -> float:
        """Share of the memory bound: the time to read the images once, over ``device``.

        Args:
            bytes_per_second: what device memory moves, see `lenet_bench.gpu.stopwatch`.
        """
        return self.images_per_second * BYTES_PER_IMAGE / bytes_per_second


@dataclass(frozen=True)
class Split:
    """Where the time of a whole call goes; medians in microseconds, which add up.

    ``end_to_end_us = python_us + launch_us + copy_us + compute_us``

    Attributes:
        engine: The engine's name in this run.
        batch_size: Images in the call.
        graph: Whether the steps are those with a CUDA graph.
        end_to_end_us: `Session.run`, NumPy in and NumPy out, by the host's clock.
        compute_us: ``device``.
        launch_us: ``device_single - device``, not below 0: what the launch keeps the GPU waiting.
        copy_us: ``upload + download``.
        python_us: all the rest: checks, copies into and out of pinned memory, waking up once the
            GPU is done. Steps that overlap in a call make it too small, even negative.
    """

    engine: str
    batch_size: int
    graph: bool
    end_to_end_us: float
    compute_us: float
    launch_us: float
    copy_us: float
    python_us: float


def split(device: DeviceResult, host: LatencyResult) -> Split:
    """The split of `host`, whole calls of the same engine at the same batch size."""
    compute = device.p50_us("device")
    launch = max(0.0, device.p50_us("device_single") - compute)
    copy = device.p50_us("upload") + device.p50_us("download")
    whole = host.percentile_us(50)
    rest = whole - launch - copy - compute
    return Split(device.engine, device.batch_size, device.graph, whole, compute, launch, copy, rest)


def result_to_json(result: DeviceResult) -> dict[str, Any]:
    """The result as JSON types, raw samples included, to the nanosecond of one computation."""
    figures: dict[str, dict[str, Any]] = {}
    for name, rounds in result.rounds_ns.items():
        repeats = result.repeats.get(name, 1)
        figures[name] = {
            "repeats": repeats,
            **result.latency(name).statistics(),
            "rounds_ns": rounds_to_json(rounds, repeats),
        }
    for name in set(figures) - {"device"}:
        del figures[name]["images_per_second"]  # no rate of anything
    return {
        "engine": result.engine,
        "batch_size": result.batch_size,
        "graph": result.graph,
        "hidden_share": result.hidden_share,
        "warm": result.warm,
        "figures": figures,
    }


def result_from_json(document: dict[str, Any]) -> DeviceResult:
    """The result that `result_to_json` wrote; raises KeyError, TypeError or ValueError."""
    figures = document["figures"]
    rounds = {name: rounds_from_json(figures[name]["rounds_ns"], name) for name in FIGURES}
    result = DeviceResult(
        str(document["engine"]),
        int(document["batch_size"]),
        bool(document["graph"]),
        rounds,
        {name: int(figures[name]["repeats"]) for name in FIGURES},
        float(document["hidden_share"]),
        bool(document["warm"]),
    )
    if result.batch_size < 1 or min(result.repeats.values()) < 1:
        raise ValueError("batch_size and repeats: expected 1 or more")
    return result


@dataclass(frozen=True)
class DeviceSection:
    """The steps of every engine, and what bounds them.

    Attributes:
        device: The GPU's name, ``cuda:N``.
        results: One result per engine, batch size and graph mode.
        bytes_per_second: Bytes that a large copy within device memory reads and writes in a second.
        copy_bytes: The size of this copy in bytes.
        state: Power and clocks, see `lenet_bench.gpu.state.Watch.summary`.
        uses_graph: For each engine and batch size, as ``(engine, batch_size, uses)``, whether its
            whole calls launch a graph, where the engine tells.
        skipped: The ``engine`` and the ``reason`` of each measurement that was not possible.
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
        splits = []
        for result in host:
            key = (result.engine, result.batch_size)
            modes = [r for r in self.results if (r.engine, r.batch_size) == key]
            used = [r for r in modes if r.graph == uses.get(key)]
            if modes:
                steps = min(used or modes, key=lambda r: r.p50_us("device_single"))
                splits.append(split(steps, result))
        return tuple(splits)

    def to_json(self, host: Sequence[LatencyResult]) -> dict[str, Any]:
        """The section of the JSON report; `host` are the whole calls of the same run."""
        rows = []
        for result in self.results:
            row = result_to_json(result)
            rate = self.bytes_per_second
            share = None if rate is None else result.bytes_share(rate)
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


def section_from_json(document: dict[str, Any]) -> DeviceSection:
    """The section that its `to_json` wrote; raises KeyError, TypeError or ValueError."""
    if not all(isinstance(one, dict) for one in (document["state"], *document["skipped"])):
        raise ValueError("device: expected objects in state and skipped")
    rate, size = document["copy_bytes_per_second"], document["copy_bytes"]
    return DeviceSection(
        str(document["device"]),
        tuple(map(result_from_json, document["results"])),
        None if rate is None else float(rate),
        None if size is None else int(size),
        document["state"],
        tuple((str(e), int(n), bool(g)) for e, n, g in document["uses_graph"]),
        tuple(document["skipped"]),
    )
