"""The table of microcontrollers, and the plugin that counts."""

import shutil
import subprocess

import pytest

from benchmarks.microcontroller.building import HERE
from benchmarks.microcontroller.table import markdown

SPIN = """
.syntax unified
.thumb
.word 0x20004000, reset + 1
.thumb_func
reset: ldr r2, =LOOPS
loop: subs r2, #1
bne loop
movs r0, #0x18
ldr r1, =0x20026
bkpt 0xab
"""


def row(participant, instructions, level="-O2", **other):
    return {
        "participant": participant, "title": participant.upper(), "precision": "int8",
        "core": "m4", "core_title": "Cortex-M4F", "machine": "mps2-an386", "level": level,
        "instructions_per_image": instructions, "flash_bytes": 90_000, "static_bytes": 3_000,
        "stack_bytes": 500, "right_of_60": 59, **other,
    }  # fmt: skip


def test_each_is_shown_at_its_fastest_beside_ours():
    rows = [
        row("ours-int8", 1_000),
        row("peer", 5_000),
        row("peer", 4_000, "-O3", static_bytes=6_500),
        row("peer", 9_000, "-Os"),
    ]
    document = {"date": "2026-11-27", "rows": rows, "versions": {"qemu": "7.2"}, "command": "run"}
    lines = markdown(document).splitlines()
    assert "| PEER, `-O3` | 4,000 | 4.00 | 90,000 | 6,500 + 500 | 2.00 | 59 |" in lines
    assert "| OURS-INT8, `-O2` | 1,000 | 1.00 | 90,000 | 3,000 + 500 | 1.00 | 59 |" in lines
    assert sum(line.startswith("| PEER") for line in lines) == 1
    assert not any("fp32 (" in line for line in lines)


def test_the_plugin_counts_every_instruction(tmp_path):
    for tool in ("gcc", "arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on PATH")

    def run(*command):
        done = subprocess.run(
            [*map(str, command)], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout + done.stderr

    run(
        "gcc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", "count.so", HERE / "count.c"
    )
    counts = []
    for loops in (1_000, 2_000):
        (tmp_path / "spin.s").write_text(SPIN.replace("LOOPS", str(loops)))
        run(
            "arm-none-eabi-gcc", "-mcpu=cortex-m0", "-nostdlib", "-Ttext=0", "-o", "s.elf", "spin.s"
        )
        text = run(
            "qemu-system-arm", "-M", "microbit", "-nographic", "-monitor", "none",
            "-serial", "none", "-semihosting-config", "enable=on,target=native",
            "-plugin", "./count.so", "-d", "plugin", "-kernel", "s.elf",
        )  # fmt: skip
        counts.append(int(text.split("instructions ")[1].split()[0]))
    assert counts[0] == pytest.approx(2 * 1_000 + 5, abs=2)
    assert counts[1] - counts[0] == 2 * 1_000
