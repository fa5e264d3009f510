"""The CPU of this machine: its name, cores, clock and instruction-set extensions."""

import functools
import os
import platform
from pathlib import Path

# The levels of the x86-64 psABI, as Linux spells the flags in /proc/cpuinfo ("abm" is LZCNT).
# https://gitlab.com/x86-psABIs/x86-64-ABI
X86_64_V3 = ("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe")
X86_64_V4 = (*X86_64_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")


def _read_cpuinfo() -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo; none where there is no /proc (macOS)."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    first = text.split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


_cpuinfo = functools.cache(_read_cpuinfo)  # all of it stays the same, but for the clock


def flags() -> frozenset[str]:
    """Instruction-set extensions as Linux spells them (``avx512f``); empty where it lists none."""
    info = _cpuinfo()
    return frozenset((info.get("flags") or info.get("Features") or "").split())


def model() -> str:
    """Name of this CPU, or its architecture where the system does not say."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def mhz() -> float | None:
    """Present clock rate of the first processor in MHz; None where the system does not say."""
    value = _read_cpuinfo().get("cpu MHz")
    return float(value) if value else None


def usable_cores() -> int:
    """Number of cores that this process may use; a container or `taskset` may have limited it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def level() -> str:
    """The highest x86-64 psABI level of this CPU (``x86-64-v4``), or its architecture."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return platform.machine()
    if flags().issuperset(X86_64_V4):
        return "x86-64-v4"
    return "x86-64-v3" if flags().issuperset(X86_64_V3) else "x86-64"
