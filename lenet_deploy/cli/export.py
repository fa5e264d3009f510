"""`lenet-deploy export`: a checkpoint becomes verified artifacts."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from lenet_deploy.cli.console import plain, print_json, progress, stderr, stdout
from lenet_deploy.cli.options import BatchSizes, Checkpoint, Json, batch_sizes_of
from lenet_export.formats import FORMATS
from lenet_runtime import devices
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError
from lenet_runtime.images.preprocess import Preprocessing


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
            help="Of the arithmetic: fp32; on GPUs also tf32; of native also bf16 or int8; of cuda "
            "also fp16 or bf16; of tensorrt also fp16, bf16 or int8."
        ),
    ] = "fp32",
    checkpoint: Checkpoint = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder to put artifacts in, each in its own folder FORMAT-PRECISION.",
            metavar="DIR",
        ),
    ] = Path("artifacts"),
    opset: Annotated[
        int | None, typer.Option(help="ONNX operator set, 18 to 22. Default: 20.")
    ] = None,
    isa: Annotated[
        str | None,
        typer.Option(
            help="Of native: the highest level to make kernels for, x86-64-v4, x86-64-v3 or "
            "generic. Default: all of them, chosen when loaded."
        ),
    ] = None,
    calibration_dir: Annotated[
        Path | None,
        typer.Option(
            "--calibration-dir",
            help="Of native and tensorrt in int8: folder that holds MNIST/raw, to take the "
            "activations' scales from its 60,000 training digits. Default: 250 bundled training "
            "digits.",
            metavar="DIR",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="Of tensorrt: batch sizes to build for, and the one to optimize for. "
            "Default: 1:64:1024.",
            metavar="MIN:OPT:MAX",
        ),
    ] = None,
    library: Annotated[
        str | None,
        typer.Option(
            help="Of tensorrt: what builds and runs it. Default: the first that is installed.",
            metavar="tensorrt|tensorrt-rtx",
        ),
    ] = None,
    compute_capability: Annotated[
        str | None,
        typer.Option(
            "--compute-capability",
            help="Of tensorrt with tensorrt-rtx: GPUs to build for, like 8.6 or 8.6,12.0; they "
            "need not be here. Default: the GPU of this machine.",
            metavar="N,N,...",
        ),
    ] = None,
    architectures: Annotated[
        str | None,
        typer.Option(
            help="Of cuda: what to compile for, some of sm_80, sm_90, sm_100, sm_120 and "
            "compute_80, which is for all later GPUs. Default: all.",
            metavar="SM,SM,...",
        ),
    ] = None,
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
) -> None:
    """Export a checkpoint and prove that the result answers as eager PyTorch does.

    Nothing is published unless parity holds; otherwise the exit code is 3 and whatever was there
    before stays. With --format all, one format's failure does not stop the others.
    """
    import lenet_export
    from lenet_deploy.training.checkpoint import read_checkpoint

    formats = _all_formats(device, gpu_only=no_verify) if format == "all" else [format]
    given: dict[str, Any] = {
        "opset": opset,
        "isa": isa,
        "calibration": calibration_dir,
        "profile": profile,
        "library": library,
        "compute_capability": compute_capability,
        "architectures": architectures,
    }
    _check_options(format, given)
    if source_only:
        _check_source_only(format, precision, static_batch)
    if calibration_dir is not None and precision != "int8":
        raise InputError(f"--calibration-dir: int8 alone is calibrated, found {precision}")
    given["calibration"] = _calibration(calibration_dir)
    sizes = batch_sizes_of(batch_sizes)
    net, card = read_checkpoint(checkpoint)
    preprocessing = Preprocessing(**card.get("preprocessing", {}))
    if source_only:
        _write_source(
            net, output / "native-source", precision, given, preprocessing, as_json=as_json
        )
        return
    results: list[dict[str, Any]] = []
    failures: dict[str, DeployError] = {}
    for name in formats:
        folder = output / (f"{name}-{precision}" + (f"-b{static_batch}" if static_batch else ""))
        options = {key: given[key] for key in FORMATS[name].options if given[key] is not None}
        started = time.perf_counter()
        try:
            with progress() as step:
                artifact = lenet_export.export(
                    net,
                    name,
                    folder,
                    precision=precision,
                    static_batch=static_batch,
                    device=device,
                    verify=not no_verify,
                    force=force,
                    preprocessing=preprocessing,
                    batch_sizes=sizes,
                    progress=step,
                    **options,
                )
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
    kind = devices.parse(device or ("cuda" if gpu_only else "cpu")).kind
    able = {b.format for b in BACKENDS.values() if kind in b.devices}
    if gpu_only:
        able -= {b.format for b in BACKENDS.values() if "cpu" in b.devices}
    return [name for name in FORMATS if name in able]


# Of options that the command line names otherwise.
_FLAGS = {"calibration": "calibration-dir", "compute_capability": "compute-capability"}


def _check_options(format: str, given: dict[str, Any]) -> None:
    """Refuse an unknown format, and a flag that no format which was asked for has."""
    if format not in (*FORMATS, "all"):
        raise InputError(f"format: expected one of {[*FORMATS, 'all']}, found {format!r}")
    for option, value in given.items():
        owners = [name for name, known in FORMATS.items() if option in known.options]
        if value is not None and format not in (*owners, "all"):
            raise InputError(
                f"--{_FLAGS.get(option, option)}: only the {' and '.join(owners)} "
                f"{'format has' if len(owners) == 1 else 'formats have'} one, "
                f"found --format {format}"
            )


def _check_source_only(format: str, precision: str, static_batch: int | None) -> None:
    """Refuse what the source alone cannot be told."""
    if format != "native":
        raise InputError(f"--source-only: only the native format is C, found --format {format}")
    known = FORMATS[format].precisions
    if precision not in known:
        raise InputError(f"--source-only: expected a precision of {known}, found {precision!r}")
    if static_batch is not None:
        raise InputError("--static-batch: the C code takes any batch; drop it for --source-only")


def _calibration(data_dir: Path | None) -> Any:
    """The training digits of MNIST in `data_dir`, uint8 ``(60000, 28, 28)``; never its test set."""
    if data_dir is None:
        return None
    from lenet_deploy.training.data import load_mnist

    return load_mnist(data_dir, train=True).images.numpy()


def _write_source(
    net: Any,
    folder: Path,
    precision: str,
    given: dict[str, Any],
    preprocessing: Preprocessing,
    *,
    as_json: bool,
) -> None:
    """`lenet_export.formats.native.write_source`, and what it wrote."""
    from lenet_export.formats.native import DEFAULT_ISA, write_source
    from lenet_export.network.quantize import calibration_batch

    calibration = calibration_batch(precision, given["calibration"], preprocessing)
    paths = write_source(net, folder, given["isa"] or DEFAULT_ISA, precision, calibration)
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
        stderr.print(f"[yellow]{name}:[/] {plain(failures[name])}", highlight=False, soft_wrap=True)
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
    table = Table(
        caption="max diff: largest difference from eager PyTorch, in logits\n"
        "of tol.: as a share of what the tolerance allows"
    )
    table.add_column("artifact", overflow="fold")
    for heading in ("size", "max diff", "of tol.", "top-1", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        proof = ("[red]not proven[/]", "-", "-")
        if row["proven"]:
            proof = (
                f"{row['max_abs_diff']:.1e}",
                f"{row['worst_share_of_tolerance']:.1%}",
                f"{row['top1_agreement']:.2%}",
            )
        size, seconds = f"{row['size_bytes'] / 1024:.0f} KiB", f"{row['seconds']:.1f} s"
        table.add_row(plain(row["path"]), size, *proof, seconds)
    if rows:
        stdout.print(table)
    for row in rows:
        if not row["proven"]:
            stderr.print(
                f"{plain(row['path'])} is not proven and will not load; where there is a GPU: "
                f"lenet-deploy verify {plain(row['path'])} --device cuda --trust --record",
                highlight=False,
                soft_wrap=True,
            )
