"""`DeviceResult`: raw samples of an engine's steps on a GPU, and `split`, of a call into them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lenet_bench.result import (
    LatencyResult,
    Ratio,
    Rounds,
    paired_ratio,
    rounds_from_json,
    rounds_to_json,
)

# What each figure is stands in `DeviceResult.rounds_ns`.
FIGURES = ("device", "device_single", "launch", "upload", "download")
# Where fewer of the samples had their launches queued in time, reports mark the figure.
MOSTLY = 0.9


@dataclass(frozen=True)
class DeviceResult:
    """One engine at one batch size, with or without a CUDA graph.

    Attributes:
        engine: its name in this run.
        batch_size: images in a batch.
        graph: whether a captured CUDA graph was launched, or every kernel by itself.
        rounds_ns: for each of `FIGURES` the samples in nanoseconds, by round.

            - ``device``: the GPU's time for one computation, of `repeats` back to back that were
              all queued before the first began. Launches are hidden: it is what the kernels take.
            - ``device_single``: the GPU's time from just before one computation is launched to its
              end, on a stream that was idle. It includes what the launch keeps the GPU waiting.
            - ``launch``: the host's time in that launch.
            - ``upload``, ``download``: the GPU's time for one copy of the images from pinned host
              memory, and of the logits to it.
        repeats: computations or copies in one sample of each figure, which is their mean.
        hidden_share: of the samples of ``device``, in which all launches were queued in time; 0 to
            1. Where it is low, ``device`` is the rate at which the host launches.
        warm: whether the warm-up ended because the engine had settled, not because time was up.
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

    def bytes_share(self, bytes_per_second: float, bytes_per_image: int = 4096) -> float:
        """Share of the memory bound: the time to read the images once, over ``device``.

        Args:
            bytes_per_second: of device memory, see `lenet_bench.gpu.stopwatch`.
            bytes_per_image: 4096 for 32 by 32 pixels in float32.
        """
        return self.images_per_second * bytes_per_image / bytes_per_second

    def ratio(self, other: "DeviceResult", seed: int = 0) -> Ratio:
        """``device`` of this over `other`'s, both of one interleaved run."""
        return paired_ratio(self.latency(), other.latency(), seed)


@dataclass(frozen=True)
class Split:
    """Where the time of a whole call goes; medians in microseconds, which add up.

    ``end_to_end_us = python_us + launch_us + copy_us + compute_us``

    Attributes:
        engine: its name in this run.
        batch_size: images in a call.
        graph: which `DeviceResult` the steps are from.
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


def to_json(result: DeviceResult) -> dict[str, Any]:
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


def from_json(document: dict[str, Any]) -> DeviceResult:
    """The result that `to_json` wrote; raises KeyError, TypeError or ValueError for another."""
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
