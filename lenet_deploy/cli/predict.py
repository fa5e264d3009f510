"""`lenet-deploy predict`: which digit is in the picture?"""

from typing import Annotated

import typer


def predict(
    images: Annotated[
        list[str] | None, typer.Argument(help="Pictures, folders or globs.", metavar="IMAGE...")
    ] = None,
) -> None:
    """Classify pictures of handwritten digits."""
    raise typer.BadParameter("not written yet", param_hint="IMAGE")
