"""`lenet-deploy export --source-only`: the C of a network, which nobody compiles or verifies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lenet_deploy.cli.console import plain, print_json, stdout
from lenet_runtime.devices import Device
from lenet_runtime.errors import InputError
from lenet_runtime.formats import FORMATS


def check_source_only(format: str, precision: str, static_batch: int | None) -> None:
    """Refuse what the source alone cannot be told."""
    if format != "native":
        raise InputError(f"--source-only: only the native format is C, found --format {format}")
    FORMATS[format].kinds(precision)
    if static_batch is not None:
        raise InputError("--static-batch: the C code takes any batch; drop it for --source-only")


def write_source(
    net: Any, folder: Path, common: Mapping[str, Any], options: Mapping[str, Any]
) -> list[Path]:
    """`lenet_export.formats.native.write_source`; returns what it wrote."""
    from lenet_export.formats import native
    from lenet_export.request import Request

    precision = common["precision"]
    FORMATS["native"].require_options(options, precision)
    request = Request(
        net, "native", precision, Device("cpu"), preprocessing=common["preprocessing"],
        labels=common["labels"], image_shape=common["input_shape"], options=options,
    )  # fmt: skip
    return native.write_source(request, folder)


def print_source(paths: list[Path], *, as_json: bool) -> None:
    """Say which files were written."""
    if as_json:
        print_json({"source": [str(path) for path in paths]})
        return
    for path in paths:
        stdout.print(plain(path), soft_wrap=True, highlight=False)
    stdout.print(
        "Nobody has compiled or verified these; an export without --source-only does both."
    )
