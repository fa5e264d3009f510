"""What this CPU is and which instruction-set extensions it has."""

import functools
import os
import platform
from pathlib import Path

# The levels of the x86-64 psABI, as Linux spells the flags in /proc/cpuinfo ("abm" is LZCNT).
# https://gitlab.com/x86-psABIs/x86-64-ABI
X86_64_V3 = ("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe")
X86_64_V4 = (*X86_64_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")


@functools.cache
def _cpuinfo() -> dict[str, str]:
    return _read_cpuinfo()


def _read_cpuinfo() -> dict[str, str]:
    """The first processor's fields; empty where there is no /proc (macOS)."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    first = text.split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def flags() -> frozenset[str]:
    """Instruction-set extensions in Linux's spelling (``avx512f``); empty where unknown."""
    info = _cpuinfo()
    return frozenset((info.get("flags") or info.get("Features") or "").split())


def model() -> str:
    """The CPU's name, or its architecture where the system does not tell."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def mhz() -> float | None:
    """The first processor's clock at this moment, in MHz; None where the system does not tell."""
    value = _read_cpuinfo().get("cpu MHz")
    return float(value) if value else None


def usable_cores() -> int:
    """How many cores this process may run on, which a container or `taskset` may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def level() -> str:
    """The highest x86-64 psABI level this CPU has (``x86-64-v4``), or its architecture."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return platform.machine()
    if flags().issuperset(X86_64_V4):
        return "x86-64-v4"
    return "x86-64-v3" if flags().issuperset(X86_64_V3) else "x86-64"
