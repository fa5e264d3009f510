"""Clang and wasm-ld: found, and run on the variants of one module. No C library is needed."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lenet_export import compiler
from lenet_runtime.errors import BackendUnavailable

# Constants are kept where a variant has folded them into its code, so that the data of all are one.
COMMON = (
    *("--target=wasm32", "-std=c11", "-Wall", "-Wextra", "-Werror", "-mbulk-memory"),
    "-fkeep-static-consts",
)
PLAIN = "plain"
SIMD = "simd128"
RELAXED = "relaxed"
# What each variant may use, in the order in which they stand in ``lenet.wasm``.
VARIANTS = {PLAIN: (), SIMD: ("-msimd128",), RELAXED: ("-msimd128", "-mrelaxed-simd")}
RELAXED_SINCE = 16  # the first Clang that writes the instructions of the standard
_NEWEST = 29  # to look for, by the names that Debian gives them
_LINK = ("--no-entry", "--no-gc-sections", "--stack-first", "-z", "stack-size=65536", "--strip-all")
_EXPORTS = ("run", "run_finite", "workspace_size", "isa", "weights_sha256")


@dataclass(frozen=True)
class Toolchain:
    """A Clang with its linker.

    Attributes:
        clang: the compiler.
        linker: the name of its ``wasm-ld``.
    """

    clang: compiler.Compiler
    linker: str

    @property
    def major(self) -> int:
        """The first number of Clang's version; 0 where it does not tell."""
        digits = self.clang.version.partition(".")[0]
        return int(digits) if digits.isdecimal() else 0

    @property
    def relaxed(self) -> bool:
        """Whether it knows relaxed SIMD, and so a fused multiply-add."""
        return self.major >= RELAXED_SINCE

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants that it makes."""
        return tuple(name for name in VARIANTS if name != RELAXED or self.relaxed)


def find() -> Toolchain:
    """The newest of ``clang`` and ``clang-N`` beside which there is a ``wasm-ld``.

    Raises:
        BackendUnavailable: there is none; says how to install it.
    """
    pairs = [("clang", "wasm-ld")]
    pairs += [(f"clang-{n}", f"wasm-ld-{n}") for n in range(14, _NEWEST + 1)]
    able = [
        Toolchain(compiler.asked((clang,)), linker)
        for clang, linker in pairs
        if shutil.which(clang) and shutil.which(linker)
    ]
    if not able:
        raise BackendUnavailable(
            "wasm: expected clang and wasm-ld on PATH, found "
            f"{'no wasm-ld' if shutil.which('clang') else 'no clang'}; install them (Debian: apt "
            "install clang lld; clang-16 lld-16 or later make code that is several times as fast)"
        )
    return max(able, key=lambda tools: tools.major)


def build(
    tools: Toolchain, sources: Mapping[str, str], prefix: str, names: Sequence[str], level: str
) -> dict[str, bytes]:
    """Compile ``wasm.c`` of `sources` into each of the variants `names`.

    Args:
        tools: those that `find` chose.
        sources: C files and headers by name.
        prefix: what the names of the C begin with.
        names: keys of `VARIANTS`.
        level: of optimization, ``-O2``.

    Raises:
        DeployError: the compiler or the linker failed; its own words are in the message.
    """
    exports = [f"--export={prefix}_{name}" for name in _EXPORTS] + ["--export=__heap_base"]
    modules = {}
    with tempfile.TemporaryDirectory(prefix="lenet-export-") as temporary:
        folder = Path(temporary)
        for name, text in sources.items():
            (folder / name).write_text(text, encoding="utf-8")
        for name in names:
            flags = [*COMMON, level, *VARIANTS[name], "-I.", "-c", "wasm.c", "-o", "wasm.o"]
            compiler.run([*tools.clang.command, *flags], folder, "wasm.o")
            # Not by way of clang, which would run a wasm-opt of another age where there is one.
            memory = [] if name == PLAIN else ["--import-memory"]
            link = [tools.linker, *_LINK, *memory, *exports, "wasm.o", "-o", "lenet.wasm"]
            modules[name] = compiler.run(link, folder, "lenet.wasm")
    return modules
