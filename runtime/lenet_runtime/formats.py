"""The formats, each declared once: the files of its artifacts, where they run, what it can be told.

The command line makes its flags and their help of this table and `lenet_export` its checks, and
builders and backends agree here on the names of files. What makes the files stands in
`lenet_export.formats`, what runs them in `lenet_runtime.backends`.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lenet_runtime.errors import InputError, expected_one_of

MAX_BATCH_SIZE = 99999  # images in a batch that a command line, a profile or a plan may name


@dataclass(frozen=True)
class Option:
    """What one format or a few can be told, beyond what all can.

    Attributes:
        name: The keyword of `lenet_export.export`.
        flag: The flag of ``lenet-deploy export``.
        help: The flag's help, to which the command line adds the formats that have it.
        metavar: The flag's value in the help.
        parse: Makes the keyword's value of the flag's text, or raises ValueError.
        precisions: The precisions that it means something to; empty for all.
        values: The flag's values, for shells to complete to, where they are few.
    """

    name: str
    flag: str
    help: str
    metavar: str
    parse: Callable[[str], Any] = str
    precisions: tuple[str, ...] = ()
    values: tuple[str, ...] = ()

    def read(self, text: str) -> Any:
        """The keyword's value for the flag's text; `InputError` where it is none."""
        try:
            return self.parse(text)
        except ValueError as error:
            raise InputError(
                f"{self.flag}: expected {self.metavar}, found {text[:100]!r}"
            ) from error

    def require(self, precision: str) -> None:
        """Raise `InputError` where the option means nothing to `precision`."""
        if self.precisions and precision not in self.precisions:
            raise InputError(
                f"{self.flag}: {' and '.join(self.precisions)} alone has one, found {precision}"
            )


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: The format's key in `FORMATS`.
        files: Names of an artifact's files but ``manifest.json`` and ``golden.npz``; ``N`` stands
            for a number, see `numbered`.
        precisions: Each precision of the arithmetic, with the kinds of devices that compute in it.
        options: What this format can be told.
        runs_code: Whether the files run code when they are loaded, and so need trust.
    """

    name: str
    files: tuple[str, ...]
    precisions: Mapping[str, tuple[str, ...]]
    options: tuple[Option, ...] = ()
    runs_code: bool = True

    def kinds(self, precision: str) -> tuple[str, ...]:
        """The kinds of devices, ``cpu`` and ``cuda``, that compute in `precision`.

        Raises:
            InputError: The format has no such precision.
        """
        if precision not in tuple(self.precisions):  # what cannot be hashed is none of them
            raise InputError(
                f"precision: {self.name!r} can be exported in one of "
                f"{expected_one_of(self.precisions, precision).removeprefix('expected one of ')}"
            )
        return self.precisions[precision]

    def has(self, option: str) -> bool:
        """Whether it has the option of this name."""
        return any(own.name == option for own in self.options)

    def require_options(self, names: Collection[str], precision: str) -> None:
        """Raise `InputError` if the format, or this precision of it, lacks one of these options."""
        unknown = sorted(name for name in names if not self.has(name))
        if unknown:
            raise InputError(
                f"{_whose(unknown[0])}{self.name!r} takes no option {', '.join(unknown)}; it takes "
                f"{', '.join(own.name for own in self.options) or 'none'}"
            )
        for own in self.options:
            if own.name in names:
                own.require(precision)


def find(name: str) -> Format:
    """The format of this name.

    Raises:
        InputError: There is none.
    """
    if name not in FORMATS:
        raise InputError(f"format: {expected_one_of(FORMATS, name)}")
    return FORMATS[name]


def options() -> dict[Option, list[str]]:
    """Every option, with the names of the formats that have it."""
    every = dict.fromkeys(own for known in FORMATS.values() for own in known.options)
    return {own: [name for name, known in FORMATS.items() if own in known.options] for own in every}


def numbered(pattern: str, number: int) -> str:
    """The file's name that `pattern` makes of a number: ``model-from-24.pt2``."""
    return pattern.replace("N", str(number))


def numbers(pattern: str, names: Iterable[str]) -> dict[int, str]:
    """Those of `names` that `pattern` makes, by their numbers, which ascend."""
    form = re.compile(re.escape(pattern).replace("N", "([1-9][0-9]{0,4})"))
    return dict(sorted((int(match[1]), match[0]) for match in map(form.fullmatch, names) if match))


def _whose(option: str) -> str:
    """Which formats have the option of this name, for an error; empty where none has."""
    for own, names in options().items():
        if own.name == option:
            have = "format has" if len(names) == 1 else "formats have"
            every = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
            return f"{own.flag}: only the {every} {have} one; "
    return ""


@dataclass(frozen=True)
class Target:
    """A kind of machine that ``native`` makes code for.

    Attributes:
        machine: What it is, for people.
        precisions: Precisions of the arithmetic; the first is the default.
    """

    machine: str
    precisions: tuple[str, ...]


TARGETS = {
    "host": Target("CPUs of the machine that exports", ("fp32", "bf16", "int8")),
    "aarch64": Target("64-bit ARM under Linux", ("fp32", "int8")),
    "cortex-m": Target("ARM microcontrollers", ("int8", "fp32")),
    "wasm": Target("WebAssembly", ("fp32", "int8")),
}
_TARGET = Option(
    "target", "--target", "What to compile for: "
    + ", ".join(f"{name} ({own.machine})" for name, own in TARGETS.items())
    + ". Default: host.", "TARGET", values=tuple(TARGETS),
)  # fmt: skip
_OPSET = Option("opset", "--opset", "Operator set, 18 to 22. Default: 20.", "N", int)
_ISA = Option(
    "isa", "--isa", "The highest level to make kernels for, x86-64-v4, x86-64-v3 or generic. "
    "Default: all of them, chosen when loaded.", "LEVEL",
    values=("x86-64-v4", "x86-64-v3", "generic"),
)  # fmt: skip
_PREFIX = Option(
    "prefix", "--prefix", "What the names in lenet.c and lenet.h begin with, so that one program "
    "can link several networks. Default: lenet.", "NAME",
)  # fmt: skip
_CALIBRATION = Option(  # the keyword is digits, uint8 (N, 28, 28), which the command line reads
    "calibration", "--calibration-dir", "In int8, a folder that holds MNIST/raw, to take the "
    "activations' scales from its 60,000 training digits. Default: 250 bundled training digits.",
    "DIR", precisions=("int8",),
)  # fmt: skip
_PROFILE = Option(
    "profile", "--profile", "Batch sizes to build for, and the one to optimize for. Default: "
    "1:64:1024.", "MIN:OPT:MAX",
)  # fmt: skip
_LIBRARY = Option(
    "library", "--library", "What builds and runs it. Default: the first that is installed.",
    "tensorrt|tensorrt-rtx", values=("tensorrt", "tensorrt-rtx"),
)  # fmt: skip
_COMPUTE_CAPABILITY = Option(
    "compute_capability", "--compute-capability", "With tensorrt-rtx, GPUs to build for, like 8.6 "
    "or 8.6,12.0; they need not be here. Default: the GPU of this machine.", "N,N,...",
)  # fmt: skip
_ARCHITECTURES = Option(
    "architectures", "--architectures", "What to compile for, some of sm_80, sm_90, sm_100, sm_120 "
    "and compute_80, which is for all later GPUs. Default: all.", "SM,SM,...",
)  # fmt: skip

_CPU, _GPU = ("cpu",), ("cuda",)
_BOTH = {"fp32": _CPU + _GPU, "tf32": _GPU}  # TF32 is how a GPU may multiply float32 weights
FORMATS = {
    each.name: each
    for each in (
        Format("onnx", ("model.onnx",), _BOTH, (_OPSET,), runs_code=False),
        Format("torchscript", ("model.pt",), _BOTH),
        Format("torch-compile", ("model-from-N.pt2",), _BOTH),
        Format(
            "native", ("lenet.so", "lenet.c", "lenet.h"),
            dict.fromkeys(("fp32", "bf16", "int8"), _CPU),
            (_TARGET, _ISA, _PREFIX, _CALIBRATION),
        ),
        Format(
            "web", ("lenet.wasm", "lenet.js", "lenet.d.ts", "package.json", "index.html"),
            dict.fromkeys(("fp32", "int8"), _CPU), (_CALIBRATION,),
        ),
        Format(
            "tensorrt", ("model.engine",),
            dict.fromkeys(("fp32", "tf32", "fp16", "bf16", "int8"), _GPU),
            (_PROFILE, _LIBRARY, _COMPUTE_CAPABILITY, _CALIBRATION),
        ),
        Format(
            "cuda", ("programs.json", "weights.bin", "lenet-compute_80.ptx", "lenet-sm_N.cubin"),
            dict.fromkeys(("fp32", "tf32", "fp16", "bf16"), _GPU), (_ARCHITECTURES,),
        ),
    )
}  # fmt: skip
