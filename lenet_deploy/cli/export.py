"""`lenet-deploy export`: a checkpoint becomes verified artifacts."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lenet_deploy.cli.console import note, plain, print_json, progress, starting_pytorch, warn
from lenet_deploy.cli.export_page import check_open, open_pages
from lenet_deploy.cli.export_results import Result, print_results
from lenet_deploy.cli.export_source import check_source_only, print_source, write_source
from lenet_deploy.cli.network_options import Network, with_network
from lenet_deploy.cli.options import (
    PROOF,
    Json,
    ProofBatchSizes,
    ProofDataDir,
    completing,
    device_names,
    integers_of,
    precision_names,
    with_options,
)
from lenet_export import single
from lenet_runtime import formats
from lenet_runtime.backends import backends_of, kinds_of
from lenet_runtime.devices import parse
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError, expected_one_of
from lenet_runtime.formats import FORMATS, TARGETS

# Of each format that has some beside fp32 and tf32.
_OTHER_PRECISIONS = {
    name: " or ".join(", ".join(own).rsplit(", ", 1))
    for name, known in FORMATS.items()
    if (own := [p for p in known.precisions if p not in ("fp32", "tf32")])
}


@with_network()
@with_options(formats.options())
def export(
    ctx: typer.Context,
    *,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help=f"What to compile to: {', '.join(FORMATS)}; or all, for each that runs on "
            "--device, the CPU by default.",
            metavar="FORMAT",
            autocompletion=completing(*FORMATS, "all"),
        ),
    ] = "onnx",
    network: Network,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder to put artifacts in, each in its own folder FORMAT-PRECISION; or a file, "
            "NAME.onnx or NAME.pt (torchscript), for other tools.",
            metavar="DIR|FILE",
        ),
    ] = Path("artifacts"),
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of the arithmetic: fp32; on GPUs also tf32"
            + "".join(f"; of {name} also {words}" for name, words in _OTHER_PRECISIONS.items())
            + ". Default: fp32, int8 for cortex-m.",
            metavar="PRECISION",
            autocompletion=completing(*precision_names()),
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an artifact that is there already.")
    ] = False,
    as_json: Json = False,
    device: Annotated[
        str | None,
        typer.Option(
            help="What to prove it on, and to compile for where the format does. "
            "Default: the CPU where the format runs there, else the first GPU.",
            metavar="cpu|cuda[:N]",
            autocompletion=device_names,
            rich_help_panel=PROOF,
        ),
    ] = None,
    batch_sizes: ProofBatchSizes = "1,2,7,64,257",
    static_batch: Annotated[
        int | None,
        typer.Option(
            min=1, help="Fix the batch size. Default: any.", metavar="N", rich_help_panel=PROOF
        ),
    ] = None,
    data_dir: ProofDataDir = None,
    no_verify: Annotated[
        bool,
        typer.Option(
            "--no-verify",
            help="Of formats for GPUs alone, on a machine without one: publish without proof. "
            "It is not loaded until verify --record has proved it.",
            rich_help_panel=PROOF,
        ),
    ] = False,
    source_only: Annotated[
        bool,
        typer.Option(
            "--source-only",
            help="Write lenet.c and lenet.h, and neither compile nor verify them.",
            rich_help_panel="Options of native",
        ),
    ] = False,
    open_page: Annotated[
        bool,
        typer.Option(
            "--open", help="Open its page in the browser.", rich_help_panel="Options of web"
        ),
    ] = False,
    **flags: str | None,
) -> None:
    """Export a checkpoint and prove that the result answers as eager PyTorch does.

    Nothing is published unless parity holds; otherwise the exit code is 3 and whatever was there
    before stays. With --format all, one format's failure does not stop the others.

    Says how many digits the result gets right, too: of the 60 bundled ones, and of MNIST's test
    set where --data-dir or ./data holds it.
    """
    names = [format]
    target = flags.get("target") or "host"
    precision = precision or TARGETS.get(target, TARGETS["host"]).precisions[0]
    if format == "all":
        names = _all_formats(device, precision, gpu_only=no_verify)
    elif target != "host":
        formats.find(format).require_options(["target"], precision)
    for name in names:
        formats.find(name).kinds(precision)
    is_file = single.is_file(output)
    if is_file:
        _check_single(output, format, force=force, no_verify=no_verify)
    if open_page:
        check_open(names)
    if source_only:
        check_source_only(format, precision, static_batch)
    options = _values(flags, names, precision)
    common: dict[str, Any] = {
        "precision": precision,
        "static_batch": static_batch,
        "device": device,
        "verify": not no_verify,
        "force": force,
        "batch_sizes": integers_of(batch_sizes),
    }
    with progress() as step, tempfile.TemporaryDirectory() as scratch:
        starting_pytorch(step)
        loaded = network.load()
        common |= loaded.arguments
        if source_only:
            paths = write_source(loaded.module, output / "native-source", common, options)
            print_source(paths, as_json=as_json)
            return
        folder = Path(scratch) if is_file else output
        results, failures = _make(
            names, loaded.module, folder, common, options=options, data_dir=data_dir, step=step
        )
        if is_file:
            results = [result.alone(output) for result in results]
    if as_json:
        reasons = [{"format": name, "reason": str(error)} for name, error in failures.items()]
        print_json({"artifacts": [r.to_dict() for r in results], "failed": reasons})
    else:
        print_results(results, ctx)
    if open_page:
        open_pages(result.path for result in results)
    _raise_first(failures)


def _make(
    names: Sequence[str],
    module: Any,
    folder: Path,
    common: Mapping[str, Any],
    *,
    options: Mapping[str, Any],
    data_dir: Path | None,
    step: Callable[[str], None],
) -> tuple[list[Result], dict[str, DeployError]]:
    """Export in each format, and return what was made and, by format, what went wrong.

    Raises:
        DeployError: Something is in the way of them all; or the one format cannot be made.
    """
    from lenet_deploy import exporting

    precision, static_batch = common["precision"], common["static_batch"]
    target = options.get("target", "host")
    suffix = f"-{precision}" + f"-b{static_batch}" * (static_batch is not None)
    own = f"-{target}" * (target != "host")
    jobs = [
        exporting.Job(name, folder / f"{name}{own * FORMATS[name].has('target')}{suffix}")
        for name in names
    ]
    step("looking for what is in the way")
    digits = exporting.test_digits(data_dir)
    failures = exporting.look_ahead(jobs, module, common)
    for name, reason in failures.items():
        note(f"[yellow]{name} is left out:[/] {plain(reason)}")
    results: list[Result] = []
    for job in jobs:
        if job.format in failures:
            continue
        own = {k: v for k, v in options.items() if len(jobs) == 1 or FORMATS[job.format].has(k)}
        try:
            results.append(_export(job, module, {**common, **own}, digits, step))
        except DeployError as error:
            if len(jobs) == 1:
                raise
            failures[job.format] = error
    if failures:  # which may have left an artifact of another network where it was
        exporting.require_one_network(folder, module, common, [])
    return results, failures


def _all_formats(device: str | None, precision: str, *, gpu_only: bool) -> list[str]:
    """Those of artifacts that run on the kind of device; with `gpu_only`, and on no CPU."""
    kind = parse(device or ("cuda" if gpu_only else "cpu")).kind
    known = precision_names()
    if precision not in known:
        raise InputError(f"precision: {expected_one_of(known, precision)}")
    able = [
        name
        for name in FORMATS
        if backends_of(name, kind) and kind in FORMATS[name].precisions.get(precision, ())
    ]
    if not able:
        raise InputError(f"precision: no format computes in {precision} on {kind}")
    return [name for name in able if not (gpu_only and "cpu" in kinds_of(name))]


def _check_single(output: Path, format: str, *, force: bool, no_verify: bool) -> None:
    """Refuse what cannot be one verified file."""
    if format == "all":
        raise InputError(f"output: expected a folder for all formats, found {str(output)!r}")
    single.check(output, format, force=force)
    if no_verify:
        raise InputError("--no-verify: a file by itself cannot be proven later; name a folder")


def _export(
    job: Any,
    module: Any,
    told: Mapping[str, Any],
    digits: tuple[Any, Any] | None,
    step: Callable[[str], None],
) -> Result:
    """Export, and see how many digits the artifact gets right."""
    import lenet_export
    from lenet_deploy import exporting

    started = time.perf_counter()
    artifact = lenet_export.export(module, job.format, job.folder, progress=step, **told)
    right = exporting.Accuracy(None, None)
    if artifact.manifest.parity.ok:
        step(f"classifying digits with {job.format}")
        device = told["device"] or FORMATS[job.format].kinds(told["precision"])[0]
        right = exporting.accuracy(artifact, device, digits)
    return Result(artifact, time.perf_counter() - started, right)


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


def _raise_first(failures: dict[str, DeployError]) -> None:
    """Print every failure but the one that ends the command: a real one before a missing engine."""
    ranked = sorted(failures, key=lambda name: isinstance(failures[name], BackendUnavailable))
    for name in ranked[1:]:
        warn(f"[yellow]{name}:[/] {plain(failures[name])}")
    if ranked:
        raise failures[ranked[0]]
