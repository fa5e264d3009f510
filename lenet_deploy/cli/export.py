"""`lenet-deploy export`: a checkpoint becomes verified artifacts."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lenet_deploy.cli.console import note, plain, print_json, progress, stdout, table
from lenet_deploy.cli.network_options import Network, with_network
from lenet_deploy.cli.options import (
    BatchSizes,
    Json,
    integers_of,
    with_options_of_formats,
)
from lenet_runtime import formats
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import backends_of, kinds_of
from lenet_runtime.devices import Device
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError
from lenet_runtime.formats import FORMATS

# Of each format that has some beside fp32 and tf32.
_OTHER_PRECISIONS = {
    name: " or ".join(", ".join(own).rsplit(", ", 1))
    for name, known in FORMATS.items()
    if (own := [p for p in known.precisions if p not in ("fp32", "tf32")])
}


@with_network()
@with_options_of_formats
def export(
    *,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="What to compile to; all for each that runs on --device, the CPU by default.",
            metavar="|".join([*FORMATS, "all"]),
        ),
    ] = "onnx",
    precision: Annotated[
        str,
        typer.Option(
            help="Of the arithmetic: fp32; on GPUs also tf32"
            + "".join(f"; of {name} also {words}" for name, words in _OTHER_PRECISIONS.items())
            + "."
        ),
    ] = "fp32",
    network: Network,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder to put artifacts in, each in its own folder FORMAT-PRECISION.",
            metavar="DIR",
        ),
    ] = Path("artifacts"),
    source_only: Annotated[
        bool,
        typer.Option(
            "--source-only",
            help="Of native: write lenet.c and lenet.h, and neither compile nor verify them.",
        ),
    ] = False,
    static_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Fix the batch size. Default: any.", metavar="N"),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="What to prove it on, and to compile for where the format does. "
            "Default: the CPU where the format runs there, else the first GPU.",
            metavar="cpu|cuda[:N]",
        ),
    ] = None,
    no_verify: Annotated[
        bool,
        typer.Option(
            "--no-verify",
            help="Of formats for GPUs alone, on a machine without one: publish without proof. "
            "It is not loaded until verify --record has proved it.",
        ),
    ] = False,
    batch_sizes: BatchSizes = "1,2,7,64,257",
    force: Annotated[
        bool, typer.Option("--force", help="Replace an artifact that is there already.")
    ] = False,
    as_json: Json = False,
    **flags: str | None,
) -> None:
    """Export a checkpoint and prove that the result answers as eager PyTorch does.

    Nothing is published unless parity holds; otherwise the exit code is 3 and whatever was there
    before stays. With --format all, one format's failure does not stop the others.
    """
    import lenet_export

    names = _all_formats(device, gpu_only=no_verify) if format == "all" else [format]
    if source_only:
        _check_source_only(format, precision, static_batch)
    options = _values(flags, names, precision)
    common: dict[str, Any] = {
        "precision": precision,
        "static_batch": static_batch,
        "device": device,
        "verify": not no_verify,
        "force": force,
        "batch_sizes": integers_of(batch_sizes),
    }
    loaded = network.load()
    net = loaded.module
    common |= loaded.arguments
    if source_only:
        paths = _write_source(net, output / "native-source", common, options)
        _print_source(paths, as_json=as_json)
        return
    results: list[dict[str, Any]] = []
    failures: dict[str, DeployError] = {}
    for name in names:
        folder = output / (f"{name}-{precision}" + (f"-b{static_batch}" if static_batch else ""))
        own = options
        if format == "all":
            own = {key: value for key, value in options.items() if FORMATS[name].has(key)}
        started = time.perf_counter()
        try:
            with progress() as step:
                artifact = lenet_export.export(net, name, folder, progress=step, **common, **own)
        except DeployError as error:
            if format != "all":
                raise
            failures[name] = error
        else:
            results.append(_row(artifact, time.perf_counter() - started))
    if as_json:
        reasons = [{"format": name, "reason": str(error)} for name, error in failures.items()]
        print_json({"artifacts": results, "failed": reasons})
    else:
        _print(results)
    _raise_first(failures)


def _all_formats(device: str | None, *, gpu_only: bool) -> list[str]:
    """Those of artifacts that run on the kind of device; with `gpu_only`, and on no CPU."""
    device = device or ("cuda" if gpu_only else "cpu")
    able = [name for name in FORMATS if backends_of(name, device)]
    return [name for name in able if not (gpu_only and "cpu" in kinds_of(name))]


def _values(
    flags: Mapping[str, str | None], names: Sequence[str], precision: str
) -> dict[str, Any]:
    """The values of the flags that were given, by the options' names.

    Of a flag that none of the formats `names` has, the text, which `lenet_export.export` refuses.
    """
    values: dict[str, Any] = {key: text for key, text in flags.items() if text is not None}
    for option, owners in formats.options().items():
        if option.name in values and not set(owners).isdisjoint(names):
            option.require(precision)  # said before 60,000 digits are read
            values[option.name] = option.read(values[option.name])
            if option.name == "calibration":  # uint8 (60000, 28, 28), never of the test set
                from lenet_deploy.training.data import load_mnist

                digits = load_mnist(Path(values[option.name]), train=True)
                values[option.name] = digits.images.numpy()
    return values


def _check_source_only(format: str, precision: str, static_batch: int | None) -> None:
    """Refuse what the source alone cannot be told."""
    if format != "native":
        raise InputError(f"--source-only: only the native format is C, found --format {format}")
    FORMATS[format].kinds(precision)
    if static_batch is not None:
        raise InputError("--static-batch: the C code takes any batch; drop it for --source-only")


def _write_source(
    net: Any, folder: Path, common: Mapping[str, Any], options: Mapping[str, Any]
) -> list[Path]:
    """`lenet_export.formats.native.write_source`; returns what it wrote."""
    from lenet_export.formats.native import write_source
    from lenet_export.request import Request

    precision = common["precision"]
    FORMATS["native"].require_options(options, precision)
    request = Request(
        net, "native", precision, Device("cpu"), preprocessing=common["preprocessing"],
        labels=common["labels"], image_shape=common["input_shape"], options=options,
    )  # fmt: skip
    return write_source(request, folder)


def _print_source(paths: list[Path], *, as_json: bool) -> None:
    if as_json:
        print_json({"source": [str(path) for path in paths]})
        return
    for path in paths:
        stdout.print(plain(path), soft_wrap=True, highlight=False)
    stdout.print("Nobody has compiled or verified these: lenet-deploy export -f native does both.")


def _raise_first(failures: dict[str, DeployError]) -> None:
    """Print every failure but the one that ends the command: a real one before a missing engine."""
    ranked = sorted(failures, key=lambda name: isinstance(failures[name], BackendUnavailable))
    for name in ranked[1:]:
        note(f"[yellow]{name}:[/] {plain(failures[name])}")
    if ranked:
        raise failures[ranked[0]]


def _row(artifact: Artifact, seconds: float) -> dict[str, Any]:
    manifest, comparisons = artifact.manifest, artifact.manifest.parity.comparisons
    return {
        "format": manifest.format,
        "precision": manifest.precision,
        "path": str(artifact.path),
        "size_bytes": sum(entry.size for entry in manifest.files.values()),
        "proven": manifest.parity.ok,
        "max_abs_diff": max((c.max_abs_diff or 0.0 for c in comparisons), default=None),
        "worst_share_of_tolerance": max((c.worst_share or 0.0 for c in comparisons), default=None),
        "top1_agreement": min((c.top1_agreement or 0.0 for c in comparisons), default=None),
        "weights_sha256": manifest.weights_sha256,
        "seconds": round(seconds, 2),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    wide = stdout.width >= 72  # or the names would have no room
    extra = ("size", "time") if wide else ()
    shown = table(
        "artifact", "max diff", "of tol.", "top-1", *extra,
        caption="max diff: largest difference from eager PyTorch, in logits\n"
        "of tol.: as a share of what the tolerance allows",
    )  # fmt: skip
    for row in rows:
        proof = ("[red]not proven[/]", "-", "-")
        if row["proven"]:
            proof = (
                f"{row['max_abs_diff']:.1e}",
                f"{row['worst_share_of_tolerance']:.1%}",
                f"{row['top1_agreement']:.2%}",
            )
        cost = (f"{row['size_bytes'] / 1024:.0f} KiB", f"{row['seconds']:.1f} s") if wide else ()
        shown.add_row(plain(row["path"]), *proof, *cost)
    if rows:
        stdout.print(shown)
    for row in rows:
        if not row["proven"]:
            note(
                f"{plain(row['path'])} is not proven and will not load; where there is a GPU: "
                f"lenet-deploy verify {plain(row['path'])} --device cuda --trust --record"
            )
