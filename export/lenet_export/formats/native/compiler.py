"""The C compiler: found, asked for its version, and run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lenet_export.formats.native import assembly
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError

LIBRARY = "lenet.so"
_CANDIDATES = ("gcc", "clang", "cc")
# The kernels name their instructions themselves, so no -march, no -ffast-math and no -O3 (which
# unrolls the dense layers to no one's gain).
FLAGS = ("-std=c11", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror")
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


def find() -> Compiler:
    """``CC`` where it is set, else gcc, clang or cc.

    Raises:
        BackendUnavailable: there is none.
        InputError: CC is no command.
    """
    variable = os.environ.get("CC", "")
    try:
        commands = [shlex.split(variable)] if variable.strip() else [[c] for c in _CANDIDATES]
    except ValueError as error:
        raise InputError(f"CC: expected a command, found {variable!r} ({error})") from error
    for command in commands:
        if shutil.which(command[0]):
            text = _run([*command, "--version"], None).stdout
            version = re.search(r"\d+(\.\d+)+", text)
            return Compiler(tuple(command), version[0] if version else "unknown")
    tried = ", ".join(repr(command[0]) for command in commands)
    raise BackendUnavailable(
        f"native: expected a C compiler, found none of {tried} on PATH; install gcc (Debian: "
        "apt install gcc) or set CC; --source-only writes the C source without one"
    )


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


def build_library(compiler: Compiler, sources: dict[str, str]) -> bytes:
    """Compile ``lenet.c`` with its Python entry into one shared library.

    Args:
        compiler: the one that `find` chose.
        sources: ``lenet.c`` and ``lenet.h`` by name.

    Raises:
        BackendUnavailable: Python's headers are not installed.
        DeployError: the compiler failed; its own words are in the message.
    """
    headers = python_headers()
    module = assembly.text("python_module.c")
    link = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    with tempfile.TemporaryDirectory(prefix="lenet-export-") as name:
        folder = Path(name)
        for file, text in (sources | {"python_module.c": module}).items():
            (folder / file).write_text(text, encoding="utf-8")
        # Names without a folder: nothing of this machine gets into the library.
        done = _run(
            [
                *compiler.command, *FLAGS, "-shared", f"-I{headers}", *link,
                "-o", LIBRARY, "lenet.c", "python_module.c",
            ],
            folder,
        )  # fmt: skip
        if done.returncode or not (folder / LIBRARY).is_file():
            words = (done.stderr or done.stdout).strip()[-2000:] or "it made no library"
            raise DeployError(f"native: {shlex.join(compiler.command)} failed: {words}")
        return (folder / LIBRARY).read_bytes()


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
