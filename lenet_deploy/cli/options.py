"""Flags that several commands share."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lenet_deploy.cli.console import notes
from lenet_runtime import formats
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import InputError
from lenet_runtime.formats import FORMATS, MAX_BATCH_SIZE

Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="Weights: .safetensors, or what torch.save or Lightning wrote. Default: the bundled "
        "checkpoint.",
        metavar="FILE",
    ),
]
PROOF = "Proof"  # a panel of the help


def completing(*names: str) -> Callable[[str], list[str]]:
    """What a shell completes a flag's value to."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def precision_names() -> list[str]:
    """The precisions of all formats."""
    return list(dict.fromkeys(p for known in FORMATS.values() for p in known.precisions))


def device_names(incomplete: str) -> list[str]:
    """The devices that a shell completes to."""
    return completing("cpu", "cuda")(incomplete)


def _data_dir(panel: str | None = None) -> Any:
    return typer.Option(
        "--data-dir",
        envvar="LENET_DEPLOY_DATA_DIR",
        help="Folder of MNIST's files, gzipped or not, or one that holds MNIST/raw.",
        metavar="DIR",
        rich_help_panel=panel,
    )


def _batch_sizes(panel: str | None = None) -> Any:
    return typer.Option(
        "--batch-sizes", help="Separated by commas.", metavar="N,N,...", rich_help_panel=panel
    )


DataDir = Annotated[Path, _data_dir()]
OptionalDataDir = Annotated[Path | None, _data_dir()]
ProofDataDir = Annotated[Path | None, _data_dir(PROOF)]
BatchSizes = Annotated[str, _batch_sizes()]
ProofBatchSizes = Annotated[str, _batch_sizes(PROOF)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random number used.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads. Default: one for most engines."),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Processes that load batches; 0 is fastest here.")
]
Download = Annotated[
    bool, typer.Option("--download/--no-download", help="Fetch MNIST if it is missing.")
]
Backend = Annotated[
    str,
    typer.Option(
        help=f"Engine: {', '.join(BACKENDS)}; auto for the first that runs this format on this "
        "device.",
        metavar="ENGINE",
        autocompletion=completing("auto", *BACKENDS),
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="What it must run on; no other is tried.",
        metavar="cpu|cuda[:N]",
        autocompletion=device_names,
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Allow an artifact that may run code (every format but "
        + " and ".join(name for name, known in FORMATS.items() if not known.runs_code)
        + ", and there other graphs than LeNet's); you know its maker.",
    ),
]


def _silence(ctx: typer.Context, is_requested: bool) -> None:
    """Set what holds for the whole run; a command's own flag can only add to it."""
    notes.quiet = is_requested or (ctx.parent is not None and notes.quiet)


Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Results, warnings and errors alone: no progress and no notes.",
        callback=_silence,
    ),
]


def with_quiet(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the flag --quiet, which its function does not see."""
    signature = inspect.signature(command)
    flag = inspect.Parameter(
        "quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet
    )

    @functools.wraps(command)
    def wrapper(*, quiet: bool, **arguments: Any) -> None:
        command(**arguments)

    wrapper.__annotations__ = command.__annotations__ | {"quiet": Quiet}
    wrapper.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), flag]
    )
    return wrapper


def with_options(
    options: Mapping[formats.Option, Sequence[str]],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for each option in place of its ``**flags``.

    Args:
        options: The options of formats or targets, with the names of those that have it.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        for option, owners in options.items():
            flag = typer.Option(
                option.flag,
                help=option.help,
                metavar=option.metavar,
                autocompletion=completing(*option.values) if option.values else None,
                rich_help_panel="Options of " + " and ".join(", ".join(owners).rsplit(", ", 1)),
            )
            kind = Annotated[str | None, flag]
            parameters.append(
                inspect.Parameter(
                    option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind
                )
            )
            command.__annotations__[option.name] = kind
        command.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=parameters
        )
        return command

    return decorate


def with_flags(
    kind: type, name: str, *unused: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags that a dataclass declares, in place of one parameter.

    Args:
        kind: The dataclass: each field's type is that of a flag, and its default the flag's.
        name: The command's parameter, which gets the dataclass.
        unused: Fields that are no flags of this command.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        flags = [
            inspect.Parameter(
                f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type
            )
            for f in dataclasses.fields(kind)
            if f.name not in unused
        ]

        @functools.wraps(command)
        def wrapper(**arguments: Any) -> None:
            own = {flag.name: arguments.pop(flag.name) for flag in flags}
            command(**{name: kind(**own)}, **arguments)

        parameters = []
        signature = inspect.signature(command)
        for parameter in signature.parameters.values():
            parameters += flags if parameter.name == name else [parameter]
        wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapper

    return decorate


def integers_of(text: str, flag: str = "--batch-sizes") -> tuple[int, ...]:
    """Parse integers of 1 to `MAX_BATCH_SIZE` that are separated by commas, each once.

    Raises:
        InputError: The text of `flag` is anything else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,5}", part) and int(part) for part in parts):
        raise InputError(
            f"{flag}: expected integers of 1 to {MAX_BATCH_SIZE} like 1,8,64, found {text[:100]!r}"
        )
    return tuple(dict.fromkeys(int(part) for part in parts))
