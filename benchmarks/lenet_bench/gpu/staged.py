"""Measuring a `DeviceSection`: opens the GPU, times the engines that have steps, watches."""

import dataclasses
from collections.abc import Mapping, Sequence

from lenet_bench.gpu import device, gpu_state, stopwatch
from lenet_bench.gpu.device import Hooks
from lenet_bench.gpu.device_result import DeviceResult
from lenet_bench.gpu.on_gpu import DeviceSection, uses_graph
from lenet_bench.harness import Settings
from lenet_runtime import cuda, devices
from lenet_runtime.backends.protocol import Predictor


def with_stages(
    predictors: Mapping[str, Predictor],
) -> tuple[dict[str, Predictor], list[dict[str, str]]]:
    """Those that can be timed step by step, and the others with their reason."""
    staged = {name: each for name, each in predictors.items() if each.stages is not None}
    others = [name for name in predictors if name not in staged]
    return staged, [
        {"engine": name, "reason": "it cannot be timed step by step"} for name in others
    ]


def measure_section(
    predictors: Mapping[str, Predictor],
    batch_sizes: Sequence[int],
    name: str,
    settings: Settings,
    hooks: Hooks | None = None,
) -> tuple[DeviceSection, bool]:
    """Time the steps of every engine on the GPU `name`.

    Returns:
        What was measured, and whether Ctrl-C ended it.

    Raises:
        BackendUnavailable: there is no such GPU.
        DeviceMemoryError: it has no memory left for the measurement itself.
    """
    given, index = hooks or Hooks(), devices.parse(name).index
    able, skipped = with_stages(predictors)
    results: list[DeviceResult] = []
    interrupted = False

    def keep(result: DeviceResult) -> None:
        results.append(result)
        given.keep(result)

    def skip(engine: str, reason: str) -> None:
        skipped.append({"engine": engine, "reason": reason})
        given.skip(engine, reason)

    watch = gpu_state.Watch(cuda.gpu(index))
    with watch, stopwatch.opened(index) as clock:
        try:
            hooks = dataclasses.replace(given, keep=keep, skip=skip)
            device.measure(able, batch_sizes, clock, settings, hooks)
        except KeyboardInterrupt:
            interrupted = True
    told = [one for e, it in able.items() for n in batch_sizes for one in uses_graph(e, it, n)]
    section = DeviceSection(
        name, tuple(results), clock.bytes_per_second, clock.copy_bytes, watch.summary,
        tuple(told), tuple(skipped),
    )  # fmt: skip
    return section, interrupted
