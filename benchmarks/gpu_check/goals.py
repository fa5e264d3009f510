"""The goals that were set before anything was measured, and whether the figures meet them."""

from dataclasses import dataclass

from benchmarks.gpu_check import OURS, RIVALS
from lenet_bench.gpu.result import BYTES_PER_IMAGE, DeviceResult
from lenet_bench.report import Run

ANY = "any precision"
SMALL, LARGE = 1, 65536
LEAST_SMALL, LEAST_LARGE, LEAST_SHARE = 2.0, 5.0, 0.30


@dataclass(frozen=True)
class Goal:
    """One goal.

    Attributes:
        text: What the goal asks for.
        precision: The precision of the engines that are compared; `ANY` is the best of ours against
            the best of all rivals.
        found: What was measured, in words.
        met: Whether the goal is met; None where it was not measured.
    """

    text: str
    precision: str
    found: str
    met: bool | None


def goals(run: Run) -> list[Goal]:
    """Each goal, first for the best of any precision and then for each one by itself."""
    ours = _of(run, (OURS,), SMALL, ANY) + _of(run, (OURS,), LARGE, ANY)
    precisions = (ANY, *sorted({run.engines[result.engine]["precision"] for result in ours}))
    small = f"batch {SMALL}: at most half the time of the best rival"
    large = f"batch {LARGE}: at least 5 times the speed of the best rival"
    return [
        *(_against_rivals(run, SMALL, LEAST_SMALL, small, one) for one in precisions),
        *(_against_rivals(run, LARGE, LEAST_LARGE, large, one) for one in precisions),
        _memory(run),
    ]


def _against_rivals(run: Run, size: int, least: float, text: str, precision: str) -> Goal:
    ours = _fastest(_of(run, (OURS,), size, precision))
    rival = _fastest(_of(run, RIVALS, size, precision))
    if ours is None or rival is None:
        missing = OURS if ours is None else "no rival"
        return Goal(text, precision, f"not measured: {missing}", None)
    times = rival.p50_us() / ours.p50_us()
    words = (
        f"{ours.name} {ours.p50_us():.2f} us, {rival.name} {rival.p50_us():.2f} us: "
        f"{times:.2f} times as fast"
    )
    return Goal(text, precision, words, times >= least)


def _memory(run: Run) -> Goal:
    text = f"batch {LARGE}: at least {LEAST_SHARE:.0%} of the memory bound in fp16"
    ours = _fastest(_of(run, (OURS,), LARGE, "fp16"))
    rate = None if run.device is None else run.device.bytes_per_second
    if ours is None or rate is None:
        return Goal(text, "fp16", "not measured", None)
    share = ours.bytes_share(rate)
    words = f"{share:.1%}: {ours.images_per_second:,.0f} images/s of {rate / BYTES_PER_IMAGE:,.0f}"
    return Goal(text, "fp16", words, share >= LEAST_SHARE)


def _of(run: Run, backends: tuple[str, ...], size: int, precision: str) -> list[DeviceResult]:
    def takes_part(engine: str) -> bool:
        details = run.engines.get(engine, {})
        right = precision in (ANY, details.get("precision"))
        return right and details.get("backend") in backends

    results = () if run.device is None else run.device.results
    return [r for r in results if r.batch_size == size and takes_part(r.engine)]


def _fastest(results: list[DeviceResult]) -> DeviceResult | None:
    return min(results, key=lambda result: result.p50_us(), default=None)
