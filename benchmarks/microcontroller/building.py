"""Builds a participant's program for a core, and runs it in QEMU."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.microcontroller.cores import Core

HERE = Path(__file__).resolve().parent
BOARD = HERE.parents[1] / "examples" / "microcontroller"
COMPILER, SIZES, QEMU = "arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm"
FLAGS = ("-mthumb", "-ffunction-sections", "-fdata-sections", "-fno-common", "-w")
CXX_FLAGS = ("-std=c++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics")
LINK = (
    "-nostartfiles", "--specs=nano.specs", "--specs=nosys.specs", "-Wl,--gc-sections",
    f"-L{BOARD}", f"-Wl,-T,{HERE / 'board.ld'}", "-lm",
)  # fmt: skip
_ROUNDS = (1, 2)


@dataclass(frozen=True)
class Participant:
    """Who is measured, or a library of theirs.

    Attributes:
        name: Unique name.
        title: What tables say; empty for a library.
        precision: fp32 or int8.
        sources: C and C++ files.
        folders: Include folders.
        defines: Preprocessor's flags, and others.
        uses: Libraries that it is linked with.
        levels: Optimisation levels that are tried; a library of one level is built with that.
        logits: C type of a logit.
    """

    name: str
    title: str
    precision: str
    sources: tuple[Path, ...]
    folders: tuple[Path, ...] = ()
    defines: tuple[str, ...] = ()
    uses: tuple["Participant", ...] = ()
    levels: tuple[str, ...] = ("-O2", "-O3", "-Os")
    logits: str = "float"


@dataclass(frozen=True)
class Run:
    """What a program did.

    Attributes:
        instructions: Instructions executed, all of them.
        logits: Bytes of each image's logits.
        setup_stack: Deepest stack of the setup in bytes.
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


class DoesNotFitError(Exception):
    """A program is larger than the board's flash."""


def run(command: Sequence[str | Path], timeout: float | None = None) -> str:
    """A command's output, stdout before stderr; where it fails, the program ends with them."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    if "will not fit in region" in done.stderr:
        raise DoesNotFitError
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def plugin(work: Path) -> Path:
    """Compile the plugin that counts."""
    library = work / "count.so"
    run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "count.c"])
    return library


def measure(participant: Participant, core: Core, level: str, work: Path) -> Run:
    """A program's run, with the instructions of one image: the difference of two runs."""
    first, second = (
        execute(link(participant, core, level, work, rounds), core, work / "count.so")
        for rounds in _ROUNDS
    )
    each = round((second.instructions - first.instructions) / len(first.logits))
    return Run(each, first.logits, first.setup_stack, first.stack, first.flash, first.ram)


def link(participant: Participant, core: Core, level: str, work: Path, rounds: int) -> Path:
    """The whole program, of `rounds` turns at all digits."""
    made = _objects(participant, core, level, work)
    program = made[0].parent / f"rounds{rounds}.elf"
    run([
        *_compile(participant, core, level, work), f"-DROUNDS={rounds}", f"-I{BOARD}",
        BOARD / "startup.c", HERE / "main.c", *made, *LINK,
        f"-Wl,--defsym=flash_size={core.flash}", "-o", program,
    ])  # fmt: skip
    return program


def _objects(participant: Participant, core: Core, level: str, work: Path) -> list[Path]:
    """Compile the files of a participant, and those of its libraries where that was not done."""
    if level not in participant.levels:
        (level,) = participant.levels
    place = work / participant.name / core.name / level[1:]
    place.mkdir(parents=True, exist_ok=True)
    made = []
    for number, source in enumerate(participant.sources):
        target = place / f"{number}-{source.stem}.o"
        made.append(target)
        if participant.title or not target.exists():
            more = CXX_FLAGS if source.suffix == ".cc" else ()
            run([*_compile(participant, core, level, work), *more, "-c", source, "-o", target])
    return made + [file for part in participant.uses for file in _objects(part, core, level, work)]


def _compile(participant: Participant, core: Core, level: str, work: Path) -> list[str | Path]:
    folders = (HERE, work, *participant.folders)
    return [
        COMPILER, level, *core.flags, *FLAGS, f"-DLOGIT={participant.logits}",
        *participant.defines, *(f"-I{folder}" for folder in folders),
    ]  # fmt: skip


def execute(program: Path, core: Core, library: Path) -> Run:
    """Run a program in QEMU to its end."""
    text = run([
        QEMU, "-M", core.machine, "-nographic", "-monitor", "none", "-serial", "none",
        "-semihosting-config", "enable=on,target=native", "-plugin", library, "-d", "plugin",
        "-kernel", program,
    ], timeout=300)  # fmt: skip
    count = re.search(r"^instructions (\d+)$", text, re.MULTILINE)
    stack = re.search(r"^stack (\w{8})(\w{8})$", text, re.MULTILINE)
    failure = re.search(r"^setup failed.*$", text, re.MULTILINE)
    if count is None or stack is None or failure:
        raise SystemExit(f"{program}: {failure[0] if failure else 'did not end as it should'}")
    depths = [int.from_bytes(bytes.fromhex(word), "little") for word in stack.groups()]
    logits = tuple(map(bytes.fromhex, re.findall(r"^logits (\w+)$", text, re.MULTILINE)))
    return Run(int(count[1]), logits, depths[0], depths[1], *_sizes(program))


def _sizes(program: Path) -> tuple[int, int]:
    """Bytes in flash and of static variables."""
    text, data, bss = map(int, run([SIZES, program]).splitlines()[1].split()[:3])
    return text + data, data + bss
