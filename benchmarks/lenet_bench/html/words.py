"""What a report knows of the machine, the software and the run, in words."""

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from lenet_bench.html.parts import as_table, row
from lenet_bench.report import Run

_NAMES = {
    "cpu": "CPU", "cpu_level": "instruction sets", "cores": "cores", "affinity": "may run on",
    "governor": "clock governor", "boost": "clock boost", "l1d": "L1 data cache", "l2": "L2 cache",
    "l3": "L3 cache", "memory_gib": "memory", "gpu": "GPU",
    "gpu_compute_capability": "compute capability", "gpu_driver": "NVIDIA driver",
    "gpu_driver_cuda": "the driver's CUDA", "gpu_multiprocessors": "multiprocessors",
    "gpu_memory_gib": "GPU memory", "system": "system", "kernel": "kernel", "python": "Python",
    "numpy": "NumPy", "lenet_deploy": "lenet-deploy", "torch": "PyTorch",
    "onnxruntime": "ONNX Runtime", "onnxruntime-gpu": "ONNX Runtime for GPUs",
    "tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX", "measured_at": "measured",
    "mhz": "clock rate", "load_average_1min": "load", "garbage_collector": "garbage collector",
    "command": "command",
}  # fmt: skip
_LEVELS = {
    "x86-64-v2": "SSE4.2", "x86-64-v3": "AVX2 and FMA", "x86-64-v4": "AVX-512",
}  # fmt: skip


def name(key: str) -> str:
    """What a fingerprint's key means, ``l1d`` for instance: L1 data cache."""
    return _NAMES.get(key, key.replace("_", " "))


def fact(key: str, value: Any, group: str = "") -> str:  # noqa: PLR0911  a case each
    """A fingerprint's value with its unit."""
    if value is None:
        return "not installed" if group == "software" else "not known"
    match key, value:
        case ("cpu_level", str()) if value in _LEVELS:
            return f"{value} ({name_of_level(value)})"
        case ("affinity", list()):
            return f"{len(value)} core{'s' * (len(value) != 1)}: {ranges(value)}"
        case ("l1d" | "l2" | "l3", str()):
            return cache(value)
        case ("memory_gib" | "gpu_memory_gib", int() | float()):
            return f"{value:,} GiB"
        case ("mhz", int() | float()):
            return f"{value / 1e3:.2f} GHz as the run began"
        case ("load_average_1min", int() | float()):
            return f"{value:g} (average of the minute before)"
        case ("measured_at", str()):
            return moment(value)
    text = str(value)
    return text if len(text) <= 300 else f"{text[:299]}…"


def name_of_level(level: str) -> str:
    """The instruction sets that an x86-64 psABI level stands for; the level where it is another."""
    return _LEVELS.get(level, level)


def cache(size: str) -> str:
    """A cache's size as Linux spells it, ``32768K``: 32 MiB."""
    digits = size.removesuffix("K")
    if not size.endswith("K") or not digits.isdecimal():
        return size
    kib = int(digits)
    return f"{kib // 1024:,} MiB" if kib % 1024 == 0 else f"{kib:,} KiB"


def ranges(numbers: list[Any]) -> str:
    """``0 to 3, 6`` for 0, 1, 2, 3, 6."""
    runs: list[list[Any]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(
        f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs
    )


def moment(text: str) -> str:
    """A moment of ISO 8601, to the minute; the text itself where it is none."""
    try:
        return datetime.datetime.fromisoformat(text).strftime("%-d %B %Y, %H:%M %Z").strip()
    except ValueError:
        return text


def threads(run: Run) -> str:
    """The numbers of threads of the run's engines."""
    counts = sorted({str(details.get("threads")) for details in run.engines.values()} - {"None"})
    words = " and ".join(sorted(counts, key=lambda count: (len(count), count)))
    return f"{words or 'an unknown number'} for each engine"


def weights(run: Run) -> list[str]:
    """The SHA-256 of the weights that were timed; more than one where artifacts differ."""
    shas = (str(details.get("weights_sha256") or "") for details in run.engines.values())
    return sorted(set(filter(None, shas)))


def load(fingerprint: Mapping[str, Any]) -> str:
    """How busy the machine was as the run began."""
    state, machine = (fingerprint.get(group, {}) for group in ("state", "machine"))
    average, cores = state.get("load_average_1min"), machine.get("cores")
    return f"{average} on {cores} cores, in the minute before" if average is not None else ""


def tables(fingerprint: Mapping[str, Any]) -> Iterable[str]:
    """A table of HTML for each group of a fingerprint: machine, software and state."""
    for group, known in fingerprint.items():
        rows = [row(name(key), [fact(key, known[key], group)]) for key in known]
        yield as_table((group, ""), rows, "words")


def right(details: dict[str, Any]) -> str:
    """How many digits an engine classifies right, of many the share; empty if it is not known."""
    right, digits = details.get("right"), details.get("digits")
    if not isinstance(right, int) or not isinstance(digits, int) or digits < 1:
        return ""
    return f"{right / digits:.2%}" if digits >= 1000 else f"{right}/{digits}"
