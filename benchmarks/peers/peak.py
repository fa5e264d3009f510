"""Measures the arithmetic peak of one core, with fused multiply-adds on registers alone."""

import ctypes
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from lenet_runtime import cpu

# Multiplications and additions for one image by direct convolution: the 30x30 outputs of conv1,
# those 12x12 outputs of conv2 that pooling uses, and the dense layers.
FLOP_PER_IMAGE = 2 * (30 * 30 * 6 * 9 + 12 * 12 * 16 * 54 + 576 * 120 + 120 * 84 + 84 * 10)

# Twelve independent chains hide the latency of an FMA, 4 cycles on two units.
CHAINS = 12
_C = """\
#include <immintrin.h>
__attribute__((target("{target}"))) float peak(long n)
{{
    {vec} b = {splat}(1.0f), c = {splat}(1e-9f);
    __asm__("" : "+v"(b), "+v"(c));
    {start}
    for (long i = 0; i < n; i++) {{
        {step}
    }}
    {vec} sum = a0;
    {finish}
    return ((float *)&sum)[0];
}}
"""


def peak_gflops(seconds: float = 0.3) -> float | None:
    """Measure float32 GFLOP/s of this CPU's widest FMAs, as the best of many short runs.

    Returns None where there is no gcc, or where the CPU has no FMA.
    """
    level = cpu.level()
    if level not in ("x86-64-v3", "x86-64-v4") or shutil.which("gcc") is None:
        return None
    wide = level == "x86-64-v4"
    lanes, prefix, vec = (16, "_mm512", "__m512") if wide else (8, "_mm256", "__m256")
    chains = range(CHAINS)
    text = _C.format(
        target="avx512f" if wide else "avx2,fma",
        vec=vec,
        splat=f"{prefix}_set1_ps",
        start=" ".join(f"{vec} a{i} = {prefix}_set1_ps({i});" for i in chains),
        step=" ".join(f"a{i} = {prefix}_fmadd_ps(b, c, a{i});" for i in chains),
        finish=" ".join(f"sum = {prefix}_add_ps(sum, a{i});" for i in chains[1:]),
    )
    with tempfile.TemporaryDirectory(prefix="peak-") as name:
        folder = Path(name)
        (folder / "peak.c").write_text(text)
        command = ["gcc", "-O2", "-shared", "-fPIC", "-o", "peak.so", "peak.c"]
        subprocess.run(command, cwd=folder, check=True, timeout=60)
        function = ctypes.CDLL(str(folder / "peak.so")).peak
    function.argtypes, function.restype = [ctypes.c_long], ctypes.c_float
    count, best, end = 20_000, float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        function(count)
        best = min(best, time.perf_counter() - started)
    return 2 * lanes * CHAINS * count / best / 1e9


if __name__ == "__main__":
    print(f"{peak_gflops()} GFLOP/s")
