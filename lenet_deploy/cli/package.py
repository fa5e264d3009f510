"""`lenet-deploy package`: an artifact with the files that a platform wants around it."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from lenet_deploy.cli.console import name as shown
from lenet_deploy.cli.console import print_json, say_next, stdout
from lenet_deploy.cli.options import Json, completing, with_options
from lenet_deploy.packaging import TARGETS, Package, Target, options, write
from lenet_runtime import Artifact
from lenet_runtime.errors import InputError, expected_one_of


@with_options(options())
def package(
    artifact: Annotated[
        Path, typer.Argument(help="An exported folder.", metavar="ARTIFACT", show_default=False)
    ],
    *,
    target: Annotated[
        str,
        typer.Option(
            help="The platform, one of the list above.",
            metavar="TARGET",
            show_default=False,
            autocompletion=completing(*TARGETS),
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Default: packages/TARGET.", metavar="DIR"),
    ] = None,
    name: Annotated[
        str, typer.Option(help="What clients call the model, and the platform the service.")
    ] = "lenet",
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier package, edited files too.")
    ] = False,
    as_json: Json = False,
    **flags: str | None,
) -> None:
    """Write an artifact with what a platform wants around it, as plain files."""
    if target not in TARGETS:
        raise InputError(f"target: {expected_one_of(TARGETS, target)}")
    chosen = TARGETS[target]
    content = Package(Artifact.open(artifact), name, _values(chosen, flags))
    folder = output or Path("packages") / target
    paths = write(chosen, content, folder, force=force)
    if as_json:
        print_json(
            {
                "target": target,
                "name": name,
                "artifact": content.artifact.digest,
                "files": [str(path) for path in paths],
            }
        )
        return
    for path in paths:
        stdout.print(shown(path), highlight=False, soft_wrap=True, markup=False)
    say_next(*chosen.steps(content, Path(shlex.quote(str(folder)))))


# Each target on a line of its own: \b keeps the lines of a paragraph apart.
package.__doc__ = f"{package.__doc__}\n\n\b\n" + "\n".join(
    f"{target.name}: {target.summary}" for target in TARGETS.values()
)


def _values(target: Target, flags: Mapping[str, str | None]) -> dict[str, Any]:
    """The values of the flags that were given, by the options' names."""
    values = {}
    for option, owners in options().items():
        text = flags[option.name]
        if text is None:
            continue
        if target.name not in owners:
            raise InputError(
                f"{option.flag}: {' and '.join(owners)} alone "
                f"{'takes' if len(owners) == 1 else 'take'} it, found --target {target.name}"
            )
        values[option.name] = option.read(text)
    return values
