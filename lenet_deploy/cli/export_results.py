"""What `lenet-deploy export` prints of the artifacts that it made."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_deploy.cli.console import (
    note,
    note_low_accuracy,
    plain,
    say_next,
    stdout,
    table,
)
from lenet_deploy.cli.words import next_command
from lenet_runtime.artifact import Artifact, trust
from lenet_runtime.artifact.requirements import this_platform
from lenet_runtime.backends import kinds_of
from lenet_runtime.formats import TARGETS
from lenet_runtime.images.digits import load_digits
from lenet_runtime.parity import NOISE

if TYPE_CHECKING:
    from lenet_deploy.exporting import Accuracy


@dataclass(frozen=True)
class Result:
    """One export.

    Attributes:
        artifact: Artifact that was made.
        seconds: Time that it took.
        accuracy: How well it answers digits.
        file: Its file by itself, where that is what was asked for.
    """

    artifact: Artifact
    seconds: float
    accuracy: "Accuracy"
    file: Path | None = None

    def alone(self, file: Path) -> "Result":
        """Write the artifact's one file to `file`; see `lenet_export.single`."""
        from lenet_export import single

        single.write(self.artifact, file)
        return Result(self.artifact, self.seconds, self.accuracy, file)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.file or self.artifact.path

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON types."""
        manifest, comparisons = self.artifact.manifest, self.artifact.manifest.parity.comparisons
        in_all = sum(entry.size for entry in manifest.files.values())
        shares = [c.worst_share or 0.0 for c in comparisons]
        digits = [c.top1_agreement or 0.0 for c in comparisons if c.inputs != NOISE]
        noise = [c.top1_agreement or 0.0 for c in comparisons if c.inputs == NOISE]
        return {
            "format": manifest.format,
            "precision": manifest.precision,
            "path": str(self.path),
            "size_bytes": self.file.stat().st_size if self.file else in_all,
            "proven": manifest.parity.ok,
            "max_abs_diff": max((c.max_abs_diff or 0.0 for c in comparisons), default=None),
            "worst_share_of_tolerance": max(shares, default=None),
            "top1_agreement": min(digits, default=None),
            "top1_agreement_noise": min(noise, default=None),
            "bundled_digits_right": self.accuracy.bundled,
            "test_set_accuracy": self.accuracy.test_set,
            "weights_sha256": manifest.weights_sha256,
            "seconds": round(self.seconds, 2),
        }


def print_results(results: list[Result], ctx: Any) -> None:
    """The table, how many digits are right, where the artifacts are, and what to do next."""
    if not results:
        return
    shown = table(
        "artifact", "max diff", "of tol.", "agrees\nwith eager", "size", "time",
        drop=("size", "time", "max diff"),
        legend={
            "max diff": "largest difference from eager PyTorch, in logits",
            "of tol.": "as a share of what the tolerance allows",
            "agrees with eager": "the same answer to digits, right or wrong",
        },
    )  # fmt: skip
    for result in results:
        row = result.to_dict()
        proof = ("[red]not proven[/]", "-", "-")
        if row["proven"]:
            proof = (
                f"{row['max_abs_diff']:.1e}",
                f"{row['worst_share_of_tolerance']:.1%}",
                f"{row['top1_agreement']:.2%}",
            )
        cost = f"{row['size_bytes'] / 1024:.0f} KiB", f"{row['seconds']:.1f} s"
        shown.add_row(plain(result.path.name), *proof, *cost)
    stdout.print(shown)
    for accuracy in dict.fromkeys(result.accuracy for result in results):
        names = [result.path.name for result in results if result.accuracy == accuracy]
        _print_accuracy(accuracy, "" if len(names) == len(results) else f"{', '.join(names)}: ")
    for result in results:
        stdout.print(f"wrote {plain(result.path)}", soft_wrap=True, highlight=False)
    _say_next(results, ctx)


def _print_accuracy(accuracy: "Accuracy", whose: str) -> None:
    if accuracy.bundled is None:
        return
    count = len(load_digits().labels)
    line = f"{plain(whose)}{count} bundled digits: {accuracy.bundled} right"
    if accuracy.test_set is not None:
        line += f"; MNIST test set: {accuracy.test_set:.2%}"
    stdout.print(line, soft_wrap=True, highlight=False)
    note_low_accuracy(accuracy.bundled / count if accuracy.test_set is None else accuracy.test_set)


def _say_next(results: list[Result], ctx: Any) -> None:
    """Commands to copy for the first of the artifacts that are proven, and for all of them."""
    for result in results:
        path = plain(result.path)
        if result.file:
            note(
                f"{path} is for other tools, with its manifest beside it; predict, verify and "
                "bench take the artifact's folder, which export -o DIR writes"
            )
        elif not result.artifact.manifest.parity.ok:
            command = next_command(
                ctx, "verify", result.path, "--trust", "--record", *_on(result, ctx)
            )
            note(f"{path} is not proven and will not load; where there is a GPU: {plain(command)}")
        elif not _loads_here(result):
            machine = TARGETS[result.artifact.manifest.requirements.target].machine
            note(f"{path} is for {machine}, and does not load here")
    proven = [r for r in results if not r.file and r.artifact.manifest.parity.ok and _loads_here(r)]
    if not proven:
        return
    first = proven[0]
    trusted = ["--trust"] if trust.reason(first.artifact) else []
    all_trusted = ["--trust"] if any(trust.reason(r.artifact) for r in proven) else []
    on = _on(first, ctx)
    commands = [
        next_command(ctx, "predict", "--digits", 10, "--artifact", first.path, *trusted, *on),
        next_command(ctx, "verify", first.path, *trusted, *on),
    ]
    # A microcontroller's time is not this machine's.
    paths = [r.path for r in proven if r.artifact.manifest.requirements.target != "cortex-m"]
    if paths:
        commands.append(next_command(ctx, "bench", *paths, *all_trusted, *on))
    if len(paths) > 1:
        commands.append(next_command(ctx, "tune", first.path.parent, *all_trusted, *on))
    say_next(*commands)


def _loads_here(result: Result) -> bool:
    return result.artifact.manifest.requirements.platform in (None, this_platform())


def _on(result: Result, ctx: Any) -> list[str]:
    """The flag --device where the artifact runs on GPUs alone, and this command has none."""
    gpu_alone = "cpu" not in kinds_of(result.artifact.manifest.format)
    return ["--device", "cuda"] if gpu_alone and ctx.params["device"] is None else []
