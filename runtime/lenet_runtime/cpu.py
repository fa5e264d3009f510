"""The CPU of this machine: its name, cores, clock and instruction-set extensions."""

import functools
import math
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

# The levels of the x86-64 psABI, as Linux spells the flags in /proc/cpuinfo ("abm" is LZCNT).
# https://gitlab.com/x86-psABIs/x86-64-ABI
X86_64_V3 = ("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe")
_AVX512 = ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
X86_64_V4 = (*X86_64_V3, *_AVX512)
# The flags that the kernels of native artifacts need, by their names in a manifest.
_AVX2_KERNELS = ("avx2", "fma", "bmi1", "bmi2")
KERNELS: dict[str, tuple[str, ...]] = {
    "avx512_bf16": (*_AVX2_KERNELS, *_AVX512, "avx512_bf16"),
    "avx512_vnni": (*_AVX2_KERNELS, *_AVX512, "avx512_vnni"),
    "avx_vnni": (*_AVX2_KERNELS, "avx_vnni"),
    "x86-64-v4": (*_AVX2_KERNELS, *_AVX512),
    "x86-64-v3": _AVX2_KERNELS,
    "neon": ("asimd",),
    "asimddp": ("asimd", "asimddp"),
    "generic": (),
}


def _read_cpuinfo() -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo; none where there is no /proc (macOS)."""
    first = _text(Path("/proc/cpuinfo")).split("\n\n", 1)[0]
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


def usable_cores(root: Path = Path("/")) -> int:
    """Number of cores that this process may use: those of its affinity, within its cgroup's quota.

    Half a core of a quota is dropped, since a thread more would be throttled; the least is 1.

    Args:
        root: The folder that has ``proc`` and ``sys``.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    cores = len(allowed) or os.cpu_count() or 1
    return max(1, int(min([cores, *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """The cores that the cgroup of this process allows, and each that it lies in; may be none."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        # Version 1 mounts each controller by itself; version 2 has one tree and no names.
        for mount in ("", "unified") if not controllers else ("cpu", "cpu,cpuacct"):
            top = root / "sys/fs/cgroup" / mount
            # A container may see the host's path here, and its own cgroup's files at the top.
            folder = top / path.lstrip("/")
            yield from map(_quota, (folder, *folder.parents[: len(Path(path).parents)]))


def _quota(folder: Path) -> float:
    """The cores that one cgroup allows, ``cpu.max`` or version 1's pair; infinity for any."""
    pair = _text(folder / "cpu.max") or " ".join(
        _text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")
    )
    numbers = [int(word) for word in pair.split() if word.isdecimal()]  # not "max", not -1
    return numbers[0] / numbers[1] if len(numbers) == 2 and numbers[1] else math.inf


def _text(path: Path) -> str:
    """The text of a file; empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def kernel(names: Sequence[str]) -> str | None:
    """The first of these kernels of `KERNELS` that this CPU runs, which is the one that does.

    None where it runs none of them, or they are a GPU's.
    """
    able = (name for name in names if name in KERNELS and flags().issuperset(KERNELS[name]))
    return next(able, None)


def level() -> str:
    """The highest x86-64 psABI level of this CPU (``x86-64-v4``), or its architecture."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return platform.machine()
    if flags().issuperset(X86_64_V4):
        return "x86-64-v4"
    return "x86-64-v3" if flags().issuperset(X86_64_V3) else "x86-64"
