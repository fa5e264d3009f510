"""The C compiler: found, asked for its version, and run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lenet_runtime.errors import BackendUnavailable, DeployError, InputError

_CANDIDATES = ("gcc", "clang", "cc")
# The kernels name their instructions themselves, so no -march, no -ffast-math and no -O3 (which
# unrolls the dense layers to no one's gain).
FLAGS = ("-std=c11", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror")
# Flags that let a compiler answer otherwise than IEEE 754 says, or link crtfastmath.o, which makes
# zeros of tiny values in the thread that loads the library.
_UNSAFE = re.compile(
    "-Ofast|-mdaz-ftz|-mpc(32|64|80)|-mfpmath=.*|@.*|-specs=.*|-menable-.*|.*unsafe-fp-math.*"
    "|-ffp-(model|eval-method)=.*|-fdenormal-fp-math.*|-fno-honor-(nans|infinities)|-fapprox-func"
    "|-f(fast-math|unsafe-math-optimizations|reciprocal-math|associative-math|finite-math-only)"
)
_SECONDS = 300


@dataclass(frozen=True)
class Compiler:
    """A C compiler.

    Attributes:
        command: the program, with the arguments that CC may bring.
        version: the version that it reports.
    """

    command: tuple[str, ...]
    version: str

    @property
    def name(self) -> str:
        """The name of the program's file, for the manifest."""
        return Path(self.command[0]).name

    @property
    def flags(self) -> str:
        """What it is told beside the files' names, for the manifest."""
        return shlex.join([*self.command[1:], *FLAGS])


def find() -> Compiler:
    """``CC`` where it is set, else gcc, clang or cc.

    Raises:
        BackendUnavailable: there is none.
        InputError: CC is no command, or changes what floating-point arithmetic means.
    """
    variable = os.environ.get("CC", "")
    try:
        commands = [shlex.split(variable)] if variable.strip() else [[c] for c in _CANDIDATES]
    except ValueError as error:
        raise InputError(f"CC: expected a command, found {variable!r} ({error})") from error
    for command in commands:
        if shutil.which(command[0]):
            unsafe = [word for word in command[1:] if _UNSAFE.fullmatch(word)]
            if unsafe:
                raise InputError(
                    f"CC: {shlex.join(unsafe)} changes what floating-point arithmetic means, or "
                    "hides flags that may: NaN, signed zeros, the order of sums, or tiny values of "
                    f"the whole process that loads the library; found {variable!r}; drop it"
                )
            return asked(tuple(command))
    tried = ", ".join(repr(command[0]) for command in commands)
    raise BackendUnavailable(
        f"native: expected a C compiler, found none of {tried} on PATH; install gcc (Debian: "
        "apt install gcc) or set CC; --source-only writes the C source without one"
    )


def asked(command: tuple[str, ...]) -> Compiler:
    """The compiler of this command, asked for its version."""
    text = _run([*command, "--version"], None).stdout
    version = re.search(r"\d+(\.\d+)+", text)
    return Compiler(command, version[0] if version else "unknown")


def find_cross(machine: str) -> Compiler:
    """A compiler for Linux on another architecture: ``CC`` where it is one, GCC's or Clang.

    Args:
        machine: as GCC spells it: ``aarch64``.

    Raises:
        BackendUnavailable: there is none with the headers of its C library.
        InputError: see `find`.
    """
    triple = f"{machine}-linux-gnu"
    commands = [(f"{triple}-gcc",), ("clang", f"--target={triple}")]
    if os.environ.get("CC", "").strip():
        commands.insert(0, find().command)
    for command in commands:
        if shutil.which(command[0]) and _compiles_for(command, machine):
            return asked(command)
    tried = ", ".join(repr(shlex.join(command)) for command in commands)
    raise BackendUnavailable(
        f"native: expected a C compiler for {machine}, found none that works of {tried}; install "
        f"one (Debian: apt install gcc-{triple} libc6-dev-arm64-cross) or set CC; --source-only "
        "writes the C source without one"
    )


def _compiles_for(command: tuple[str, ...], machine: str) -> bool:
    """Whether it makes programs of this architecture."""
    with tempfile.TemporaryDirectory(prefix="lenet-export-") as folder:
        (Path(folder) / "try.c").write_text(
            f"#include <stdlib.h>\n#ifndef __{machine}__\n#error\n#endif\n"
            "int main(void) { return EXIT_SUCCESS; }\n"
        )
        return _run([*command, "-static", "-o", "try", "try.c"], Path(folder)).returncode == 0


def python_headers() -> Path:
    """The folder of ``Python.h``, which the library's Python entry needs.

    Raises:
        BackendUnavailable: it is not installed.
    """
    folder = Path(sysconfig.get_paths()["include"])
    if not (folder / "Python.h").is_file():
        raise BackendUnavailable(
            f"native: expected Python.h in {folder}; install Python's headers (Debian: "
            "apt install python3-dev); --source-only writes the C source without them"
        )
    return folder


def build_library(compiler: Compiler, sources: Mapping[str, str], name: str, *flags: str) -> bytes:
    """Compile the C files of `sources` into one shared library.

    Args:
        compiler: the one that `find` chose.
        sources: C files and headers by name.
        name: the library's.
        flags: more flags.

    Raises:
        DeployError: the compiler failed; its own words are in the message.
    """
    link = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    with tempfile.TemporaryDirectory(prefix="lenet-export-") as temporary:
        folder = Path(temporary)
        for file, text in sources.items():
            (folder / file).write_text(text, encoding="utf-8")
        # Names without a folder: nothing of this machine gets into the library.
        command = [
            *compiler.command, *FLAGS, "-shared", *flags, *link,
            "-o", name, *(file for file in sources if file.endswith(".c")),
        ]  # fmt: skip
        return run(command, folder, name)


def run(command: list[str], folder: Path, name: str) -> bytes:
    """Run a compiler or a linker in `folder`, and read the file `name` that it makes there.

    Raises:
        DeployError: it failed; its own words are in the message.
    """
    done = _run(command, folder)
    if done.returncode or not (folder / name).is_file():
        words = (done.stderr or done.stdout).strip()[-2000:] or f"it made no {name}"
        raise DeployError(f"native: {command[0]} failed: {words}")
    return (folder / name).read_bytes()


def _run(command: list[str], folder: Path | None) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeployError(f"native: {shlex.join(command)} did not run ({error})") from error
