"""The command line, one file per command; engines are imported inside the commands."""

import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lenet_deploy import __version__
from lenet_deploy.cli.batch import batch
from lenet_deploy.cli.bench import bench
from lenet_deploy.cli.bench_outputs import BenchCommand
from lenet_deploy.cli.doctor import doctor
from lenet_deploy.cli.evaluate import evaluate
from lenet_deploy.cli.export import export
from lenet_deploy.cli.inspect import inspect
from lenet_deploy.cli.options import Quiet, with_quiet
from lenet_deploy.cli.package import package
from lenet_deploy.cli.predict import predict
from lenet_deploy.cli.serve import serve
from lenet_deploy.cli.train import train
from lenet_deploy.cli.tune import tune
from lenet_deploy.cli.verify import verify
from lenet_deploy.cli.words import Command, in_flags
from lenet_runtime.errors import (
    BackendUnavailable,
    DeployError,
    DeployWarning,
    InputError,
    ParityError,
    printable,
)
from lenet_runtime.version import pip_install

# Exit codes, as README documents them; typer itself exits 2 on a malformed command line.
FAILURE, USAGE, PARITY, UNAVAILABLE, INTERRUPTED = 1, 2, 3, 4, 130
# The least of lenet-deploy's extras that bring what a command may find missing.
_EXTRAS = {
    "torch": "export", "onnx": "export", "onnxscript": "export", "safetensors": "export",
    "matplotlib": "train", "torchvision": "train", "PIL": "cpu", "plotly": "bench",
    "pyarrow": "batch", "ray": "ray",
    "uvicorn": "serve", "httptools": "serve", "uvloop": "serve", "orjson": "serve",
    "grpc": "grpc", "google": "grpc",
}  # fmt: skip


def exit_code(error: BaseException) -> int:
    """The exit code of a process that ends with `error`."""
    codes = {
        InputError: USAGE,
        ParityError: PARITY,
        BackendUnavailable: UNAVAILABLE,
        ImportError: UNAVAILABLE,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), FAILURE)


def message(error: BaseException) -> str:
    """What to tell about `error` in one line, or in the lines of one of our own errors."""
    if isinstance(error, OSError) and error.strerror:
        # Python's own text begins with a number, and names the file last.
        return printable(f"{error.filename or 'system'}: {error.strerror}")
    if isinstance(error, ModuleNotFoundError):
        package = str(error.name).partition(".")[0]
        return printable(
            f"this needs {package}, which is not installed; "
            f"{pip_install(_EXTRAS.get(package, 'all'))}"
        )
    if isinstance(error, MemoryError):
        return f"out of memory: {printable(error)}".removesuffix(": ")
    return printable(error)


def _show_warning(
    message: Warning | str, category: type[Warning], *where: Any, **options: Any
) -> None:
    """Print our own warnings as a line on stderr, and others as Python does."""
    if issubclass(category, DeployWarning):
        typer.secho(f"warning: {printable(message)}", fg="yellow", err=True)
    else:
        _python_shows(message, category, *where, **options)


_python_shows = warnings.showwarning


class _Commands(TyperGroup):
    """Turns errors into one line on stderr and an exit code, also under a test's runner."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                warnings.simplefilter("once", DeployWarning)
                return super().invoke(ctx)
        except BrokenPipeError:  # the reader has seen enough: nothing to say
            raise
        except (DeployError, OSError, ImportError, MemoryError) as error:
            command = self.commands.get(ctx.invoked_subcommand or "", self)
            text = in_flags(message(error), command)
            typer.secho(f"error: {text}", fg="red", err=True)
            raise typer.Exit(exit_code(error)) from error

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and make sure that what was printed, help included, has been written."""
        try:
            try:
                return super().main(*args, **kwargs)
            finally:
                if sys.stdout is not None:  # closed before we began
                    sys.stdout.flush()
        except SystemExit as error:  # typer's, of a KeyboardInterrupt, wherever that came
            if error.code == INTERRUPTED:
                typer.secho("interrupted", fg="yellow", err=True)
            raise
        except BrokenPipeError:
            sys.exit(FAILURE)
        except OSError as error:
            typer.secho(f"error: {message(error)}", fg="red", err=True)
            sys.exit(FAILURE)


app = typer.Typer(
    cls=_Commands,
    name="lenet-deploy",
    help="Compile LeNet for optimized inference: train, export, prove, run and time it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(f"lenet-deploy {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_print_version, is_eager=True, help="Say which version."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Compile LeNet for optimized inference: train, export, prove, run and time it."""


for _command in (
    train, evaluate, export, verify, predict, batch, bench, tune, serve, package, inspect,
    doctor,
):  # fmt: skip
    _class = BenchCommand if _command is bench else Command
    app.command(cls=_class)(with_quiet(_command))
