"""`lenet-deploy package`: an artifact with the files that a platform wants around it."""

from pathlib import Path
from typing import Annotated

import typer

from lenet_deploy.cli.console import stdout
from lenet_deploy.cli.options import completing
from lenet_deploy.packaging import TARGETS, Package, write
from lenet_runtime import Artifact
from lenet_runtime.errors import InputError, expected_one_of


def package(
    artifact: Annotated[
        Path, typer.Argument(help="An exported folder.", metavar="ARTIFACT", show_default=False)
    ],
    *,
    target: Annotated[
        str,
        typer.Option(
            help="; ".join(f"{t.name}: {t.summary}" for t in TARGETS.values()),
            metavar="|".join(TARGETS),
            autocompletion=completing(*TARGETS),
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Default: packages/TARGET.", metavar="DIR"),
    ] = None,
    name: Annotated[str, typer.Option(help="What clients call the model.")] = "lenet",
    flavour: Annotated[
        str,
        typer.Option(
            help="Of triton: native, our C, or the backend of the format; or python, our runtime.",
            metavar="native|onnxruntime|tensorrt|python",
            autocompletion=completing("native", "onnxruntime", "tensorrt", "python"),
            show_default="by format",
        ),
    ] = "",
    environment: Annotated[
        str,
        typer.Option(
            help="Of triton's python: the environment to run in, on Triton's machine.",
            metavar="DIR",
            show_default="the image's own Python",
        ),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier package.")] = False,
) -> None:
    """Write what Triton, Kubernetes, Docker and others need to serve an artifact."""
    if target not in TARGETS:
        raise InputError(f"target: {expected_one_of(TARGETS, target)}")
    folder = output or Path("packages") / target
    opened = Artifact.open(artifact)
    options = {"flavour": flavour, "environment": environment}
    for path in write(TARGETS[target], Package(opened, name, options), folder, force=force):
        stdout.print(str(path), highlight=False, soft_wrap=True)
