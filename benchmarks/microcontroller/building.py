"""Builds a participant's program for a core, and runs it in QEMU."""

import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from microcontroller.cores import Core

HERE = Path(__file__).resolve().parent
COMPILER, SIZES, QEMU = "arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm"
FLAGS = ("-mthumb", "-ffunction-sections", "-fdata-sections", "-fno-common", "-w")
LINK = (
    "-nostartfiles", "--specs=nano.specs", "--specs=nosys.specs", "-Wl,--gc-sections",
    "-Wl,--defsym=FLASH_AT=0,--defsym=RAM_AT=0x20000000",
)  # fmt: skip
_ROUNDS = (1, 2)


@dataclass(frozen=True)
class Participant:
    """What is measured.

    Attributes:
        name: Unique name.
        title: What tables say.
        precision: fp32 or int8.
        sources: C, C++ files and archives of its own.
        folders: Include folders.
        defines: Preprocessor's flags.
        levels: Optimisation levels that are tried.
    """

    name: str
    title: str
    precision: str
    sources: tuple[Path, ...]
    folders: tuple[Path, ...] = ()
    defines: tuple[str, ...] = ()
    levels: tuple[str, ...] = ("-O2", "-O3", "-Os")


@dataclass(frozen=True)
class Run:
    """What one build did on the bundled digits.

    Attributes:
        instructions: Instructions executed for all images and rounds, and the rest of the program.
        logits: Bytes of each image's logits.
        setup_stack: Deepest stack of setup in bytes.
        stack: Deepest stack of a classification in bytes.
        flash: Bytes of code, constants and initial data.
        ram: Bytes of static variables.
    """

    instructions: int
    logits: tuple[bytes, ...]
    setup_stack: int
    stack: int
    flash: int
    ram: int


def run(command: Sequence[str | Path], **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command; its output is in the error if it fails."""
    done = subprocess.run(  # type: ignore[call-overload]
        [str(word) for word in command], capture_output=True, text=True, **options
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done  # type: ignore[no-any-return]


def plugin(folder: Path) -> Path:
    """Compile the plugin that counts."""
    library = folder / "count.so"
    run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "count.c"])
    return library


def objects(
    participant: Participant, core: Core, level: str, folder: Path, work: Path
) -> list[Path]:
    """Compile a participant's files, once for a core and level."""
    place = folder / participant.name / core.name / level[1:]
    place.mkdir(parents=True, exist_ok=True)
    made = []
    for number, source in enumerate(participant.sources):
        target = place / f"{number}-{source.stem}.o"
        made.append(target)
        if not target.exists():
            run([*_compile(participant, core, level, work), "-c", source, "-o", target])
    return made


def _compile(
    participant: Participant, core: Core, level: str, work: Path
) -> list[str | Path]:
    folders: Iterable[Path] = (HERE, work, *participant.folders)
    precision = ["-DFP32"] if participant.precision == "fp32" else []
    return [
        COMPILER, level, *core.flags, *FLAGS, *precision, *participant.defines,
        *(f"-I{folder}" for folder in folders),
    ]  # fmt: skip


def link(participant: Participant, core: Core, level: str, work: Path, rounds: int) -> Path:
    """The whole program, of `rounds` turns at all digits."""
    made = objects(participant, core, level, work, work)
    program = made[0].parent / f"rounds{rounds}.elf" if made else work / "nothing.elf"
    board = [work / "start.c", HERE / "main.c"]
    run([
        *_compile(participant, core, level, work), f"-DROUNDS={rounds}", *board, *made, *LINK,
        f"-Wl,-T,{work / 'board.ld'},--defsym=RAM_END={core.ram_end:#x}", "-lm", "-o", program,
    ])  # fmt: skip
    return program


def execute(program: Path, core: Core, library: Path) -> Run:
    """Run a program in QEMU to its end."""
    done = run([
        QEMU, "-M", core.machine, "-nographic", "-monitor", "none", "-serial", "none",
        "-semihosting-config", "enable=on,target=native", "-plugin", library, "-d", "plugin",
        "-kernel", program,
    ], timeout=300)  # fmt: skip
    text = done.stdout + done.stderr
    count = re.search(r"^instructions (\d+)$", text, re.MULTILINE)
    stack = re.search(r"^stack (\w{8})(\w{8})$", text, re.MULTILINE)
    if count is None or stack is None or "failed" in text:
        raise SystemExit(f"{program}: did not end as it should\n{text[-2000:]}")
    depths = [int.from_bytes(bytes.fromhex(word), "little") for word in stack.groups()]
    logits = tuple(map(bytes.fromhex, re.findall(r"^logits (\w+)$", text, re.MULTILINE)))
    flash, ram = _sizes(program)
    return Run(int(count[1]), logits, depths[0], depths[1], flash, ram)


def _sizes(program: Path) -> tuple[int, int]:
    """Bytes in flash and of static variables."""
    line = run([SIZES, program]).stdout.splitlines()[1].split()
    text, data, bss = map(int, line[:3])
    return text + data, data + bss


def measure(participant: Participant, core: Core, level: str, work: Path, library: Path) -> Run:
    """A program's run, with the instructions of one image: the difference of two runs."""
    first, second = (
        execute(link(participant, core, level, work, rounds), core, library) for rounds in _ROUNDS
    )
    images = len(first.logits)
    each = round((second.instructions - first.instructions) / images)
    return Run(each, first.logits, first.setup_stack, first.stack, first.flash, first.ram)
