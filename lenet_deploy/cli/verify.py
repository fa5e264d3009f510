"""`lenet-deploy verify`: compare an artifact with eager PyTorch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import lenet_runtime
from lenet_deploy.cli.console import (
    note,
    note_low_accuracy,
    plain,
    print_json,
    progress,
    starting_pytorch,
    stdout,
    table,
)
from lenet_deploy.cli.network_options import Network, with_network
from lenet_deploy.cli.options import (
    Backend,
    BatchSizes,
    Device,
    Json,
    OptionalDataDir,
    Seed,
    Threads,
    Trust,
    integers_of,
)
from lenet_runtime.errors import ArtifactError, InputError
from lenet_runtime.images.digits import load_digits
from lenet_runtime.parity import NOISE

if TYPE_CHECKING:
    from lenet_export.verification import DataSetReport, Invariance, Verification
    from lenet_runtime.parity import Comparison

_SHOWN_FLIPS = 10
# Columns of the table, and what they mean.
_NUMBERS = {
    "batch": "",
    "max": "largest difference from eager PyTorch, in logits",
    "mean": "",
    "eager": "distance of eager float32 from float64",
    "times": "max in units of it",
    "of tol.": "max as a share of what the tolerance allows",
    "agrees\nwith eager": "the same answer, right or wrong",
}


@with_network("mean", "std", "labels")
def verify(
    artifact: Annotated[Path, typer.Argument(help="The artifact's folder.", metavar="ARTIFACT")],
    *,
    network: Network,
    batch_sizes: BatchSizes = "1,2,7,64,257",
    data_dir: OptionalDataDir = None,
    backend: Backend = "auto",
    device: Device = "cpu",
    threads: Threads = None,
    trust: Trust = False,
    record: Annotated[
        bool,
        typer.Option(
            "--record",
            help="Write the proof into the artifact, as one of export --no-verify needs before "
            "it can be loaded.",
        ),
    ] = False,
    digest: Annotated[
        bool,
        typer.Option(
            "--digest",
            help="Print the SHA-256 of the digits' logits, to compare with other machines' and "
            "targets', in place of the comparison; needs no PyTorch.",
        ),
    ] = False,
    html_file: Annotated[
        Path | None,
        typer.Option(
            "--html", help="Write a certificate: a page to attach to a release.", metavar="FILE"
        ),
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Compare an artifact with eager PyTorch: over batch sizes, on MNIST, and batch by batch.

    Takes MNIST's test set from --data-dir, or from ./data where it is there, else the bundled
    digits. Exits 3 if anything differs by more than the tolerance of the artifact's precision.
    """
    if (record or html_file is not None) and backend == "fastest":
        raise InputError(
            f"{'--record' if record else '--html'}: a plan runs several artifacts, found --backend "
            "fastest; verify each by itself"
        )
    if digest and (record or html_file is not None):
        raise InputError(
            f"--digest: it compares nothing, found {'--record' if record else '--html'}; "
            "drop one of them"
        )
    sizes = integers_of(batch_sizes)
    data_set = _test_set(data_dir, "digests are" if digest else "accuracy is")
    if digest:
        from lenet_deploy.cli.verify_digest import print_digests

        with lenet_runtime.load(artifact, backend, device, threads, trust) as session:
            print_digests(session, data_set, artifact=str(artifact), as_json=as_json)
        return
    with (
        progress() as step,
        lenet_runtime.load(artifact, backend, device, threads, trust, unproven=record) as session,
    ):
        starting_pytorch(step)
        import lenet_export
        from lenet_export.proof import bundled_right

        net = network.load(session.manifest).module
        step(f"verifying {artifact} on {session.backend}")
        report = lenet_export.verify(session, net, batch_sizes=sizes, data_set=data_set, seed=seed)
        name, device = session.backend, session.device
        right = bundled_right(session.run, session.manifest)
        verified = session.artifact
        if record and report.ok:
            verified = lenet_export.record(verified, report)
    if html_file is not None:
        from lenet_deploy.cli.verify_page import write_page

        write_page(report, verified, html_file, backend=name, device=device)
        note(f"wrote {plain(html_file)}")
    if as_json:
        where = {"artifact": str(artifact), "backend": name, "device": device}
        print_json(where | {"bundled_digits_right": right} | report.to_dict())
    else:
        _print(report, name, right)
    if right is not None:
        note_low_accuracy(report.data_set.accuracy)
    if not report.ok:
        note(network.hint)
    report.require(str(artifact))
    if record:
        note(f"recorded in {plain(artifact)}, which loads from now on")


def _test_set(data_dir: Path | None, what: str) -> tuple[str, Any, Any] | None:
    """MNIST's 10,000 test digits; None where no folder was named and ``data`` has none."""
    from lenet_deploy.training import mnist

    folder = data_dir or Path("data")
    if data_dir is None:
        try:
            mnist.find(folder, train=False)
        except ArtifactError:
            note(f"note: {what} of the bundled digits; name a folder of MNIST with --data-dir")
            return None
    return "MNIST test set", *mnist.read(folder, train=False)


def _print(report: "Verification", backend: str, right: int | None) -> None:
    rows = table(
        "images", *_NUMBERS,
        drop=("mean", "times", "eager", "max"),
        title=f"Difference from eager PyTorch on {backend}, in logits",
        legend={name.replace("\n", " "): text for name, text in _NUMBERS.items() if text},
    )  # fmt: skip
    data_set, comparisons = report.data_set, report.parity.comparisons
    noise = [comparison for comparison in comparisons if comparison.inputs == NOISE]
    for comparison in (comparison for comparison in comparisons if comparison not in noise):
        rows.add_row(*_cells(comparison.inputs, comparison))
    rows.add_row(*_cells(data_set.name, data_set.comparison))
    rows.add_section()
    for comparison in noise:
        rows.add_row(*_cells("noise", comparison))
    stdout.print(rows)
    stdout.print("[dim]noise: logits lie close; other answers cost no accuracy[/]")
    if report.invariance:
        _print_invariance(report.invariance)
    if right is not None:
        _print_accuracy(data_set, right)
    for flip in data_set.flips[:_SHOWN_FLIPS]:
        stdout.print(
            f"  digit {flip.index}: label {flip.label}, eager {flip.eager}, found {flip.found}, "
            f"eager's margin {flip.margin:.3g}",
            highlight=False,
        )
    stdout.print("[green]parity holds[/]" if report.ok else "[red]parity fails[/]")


def _print_accuracy(data_set: "DataSetReport", right: int) -> None:
    count = len(load_digits().labels)
    if data_set.comparison.batch_size != count:
        stdout.print(f"{count} bundled digits: {right} right", highlight=False)
    stdout.print(
        f"{data_set.name}: {data_set.comparison.batch_size} digits, accuracy "
        f"{data_set.accuracy:.2%} (eager {data_set.eager_accuracy:.2%}), "
        f"{len(data_set.flips)} answers differ",
        highlight=False,
    )


def _print_invariance(changes: "tuple[Invariance, ...]") -> None:
    title = "The same images in another batch: do their logits stay?"
    rows = table("batch", "to the bit", "max", "of tol.", drop=("max",), title=title)
    for change in changes:
        comparison = change.comparison
        rows.add_row(
            _name(change.change, comparison),
            "yes" if change.bitwise else "no",
            _show(comparison.max_abs_diff, ".1e"),
            _show(comparison.worst_share, ".1%"),
        )
    stdout.print(rows)


def _cells(name: str, comparison: "Comparison") -> list[str]:
    return [
        _name(name, comparison),
        str(comparison.batch_size),
        _show(comparison.max_abs_diff, ".1e"),
        _show(comparison.mean_abs_diff, ".1e"),
        _show(comparison.eager_error, ".1e"),
        _show(comparison.eager_multiple, ".1f"),
        _show(comparison.worst_share, ".1%"),
        _show(comparison.top1_agreement, ".2%"),
    ]


def _name(name: str, comparison: "Comparison") -> str:
    return plain(name) if comparison.ok else f"[red]{plain(name)}[/]"


def _show(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
