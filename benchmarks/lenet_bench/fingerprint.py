"""What a latency belongs to: the machine, the software, and how the run was set up."""

import contextlib
import datetime
import gc
import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from lenet_runtime import __version__, cpu, devices
from lenet_runtime.version import installed

_SOFTWARE = ("torch", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx")


def fingerprint(device: str = "cpu") -> dict[str, Any]:
    """Three groups: figures of unlike ``machine`` or ``settings`` must not be compared.

    Values are JSON types. What the system does not tell is None, never left out. The GPU is part of
    the machine where it is measured, and only there.

    Args:
        device: The device that is measured.

    Raises:
        BackendUnavailable: There is no such GPU.
    """
    return {
        "machine": {
            "cpu": cpu.model(),
            "cpu_level": cpu.level(),
            "cores": os.cpu_count(),
            "affinity": _affinity(),
            "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            "boost": _read("/sys/devices/system/cpu/cpufreq/boost"),
            "l1d": _cache(0),
            "l2": _cache(2),
            "l3": _cache(3),
            "memory_gib": _memory_gib(),
            "architecture": platform.machine(),
            **_gpu(device),
        },
        "software": {
            "system": platform.system(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "lenet_deploy": __version__,
            **{name: installed(name) for name in _SOFTWARE},
        },
        "state": {
            "command": _command(),
            "measured_at": datetime.datetime.now(datetime.UTC).isoformat(" ", "seconds"),
            "clock": time.get_clock_info("perf_counter").implementation,
            "mhz": cpu.mhz(),
            "load_average_1min": _load(),
            "garbage_collector": "off while timing, was " + ("on" if gc.isenabled() else "off"),
        },
    }


def _gpu(device: str) -> dict[str, Any]:
    parsed = devices.parse(device)
    if parsed.kind != "cuda":
        return {}
    from lenet_bench.gpu import state
    from lenet_runtime import cuda

    gpu = cuda.gpu(parsed.index)
    return {
        "gpu": gpu.name,
        "gpu_compute_capability": gpu.compute_capability,
        "gpu_driver": state.read(gpu).get("driver"),
        "gpu_driver_cuda": gpu.driver,
        "gpu_multiprocessors": gpu.multiprocessors,
        "gpu_memory_gib": round(gpu.memory_bytes / 2**30),
    }


def differences(ours: dict[str, Any], theirs: dict[str, Any], group: str) -> list[str]:
    """What differs between two fingerprints in one group, as ``key: ours, theirs``."""
    a, b = ours.get(group, {}), theirs.get(group, {})
    return [
        f"{key}: {a.get(key)!r} here, {b.get(key)!r} there"
        for key in sorted(set(a) | set(b))
        if a.get(key) != b.get(key)
    ]


def _affinity() -> list[int] | None:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return None


def _cache(index: int) -> str | None:
    return _read(f"/sys/devices/system/cpu/cpu0/cache/index{index}/size")


def _memory_gib() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (ValueError, OSError):
        return None


def _command() -> str:
    """The command line of this process, without the program's folder."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return shlex.join(["python", "-m", program.parent.name, *sys.argv[1:]])
    return shlex.join([program.name, *sys.argv[1:]])


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _read(path: str) -> str | None:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    return None
