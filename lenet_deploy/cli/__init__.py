"""The command line, one file per command; engines are imported inside the commands."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lenet_deploy import __version__
from lenet_deploy.cli.bench import bench
from lenet_deploy.cli.doctor import doctor
from lenet_deploy.cli.evaluate import evaluate
from lenet_deploy.cli.export import export
from lenet_deploy.cli.inspect import inspect
from lenet_deploy.cli.predict import predict
from lenet_deploy.cli.train import train
from lenet_deploy.cli.tune import tune
from lenet_deploy.cli.verify import verify
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError, ParityError

# Exit codes, as README documents them; typer itself exits 2 on a malformed command line.
FAILURE, USAGE, PARITY, UNAVAILABLE, INTERRUPTED = 1, 2, 3, 4, 130


def exit_code(error: BaseException) -> int:
    """The exit code of a process that ends with `error`."""
    codes = {InputError: USAGE, ParityError: PARITY, BackendUnavailable: UNAVAILABLE}
    return next((code for kind, code in codes.items() if isinstance(error, kind)), FAILURE)


class _Commands(TyperGroup):
    """Turns our errors into one line on stderr and an exit code, also under a test's runner."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # the reader, such as `head`, has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILURE) from error
        except (DeployError, OSError) as error:
            typer.secho(f"error: {error}", fg="red", err=True)
            raise typer.Exit(exit_code(error)) from error
        except KeyboardInterrupt as error:
            typer.secho("interrupted", fg="yellow", err=True)
            raise typer.Exit(INTERRUPTED) from error


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
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Compile LeNet for optimized inference: train, export, prove, run and time it."""


for _command in (train, evaluate, export, verify, predict, bench, tune, inspect, doctor):
    app.command()(_command)


def main() -> None:
    """Run the command line; the entry point of the `lenet-deploy` script."""
    sys.exit(app())
