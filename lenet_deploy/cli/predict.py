"""`lenet-deploy predict`: the digits that pictures show."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

import lenet_runtime
from lenet_deploy import cache
from lenet_deploy.cli import console
from lenet_deploy.cli.console import print_json, progress, stderr, stdout
from lenet_deploy.cli.drawing import bar, half_blocks
from lenet_deploy.cli.inputs import Digit, bundled, match, read
from lenet_deploy.cli.options import Backend, Device, Json, Threads, Trust
from lenet_runtime.errors import InputError

_DRAWN = 10  # pictures to draw; a longer list needs --draw
_WIDE = 76  # columns of a terminal in which names and drawings fit side by side
_LONG, _SHORT = 24, 8  # characters of a label, in a wide terminal and in others
_LISTED = 200  # digits in the table; --json has all
_BATCH = 1024  # images in one call of the session


@dataclass(frozen=True)
class _Answer:
    """The network's answer for one digit.

    Attributes:
        digit: Digit that was classified.
        label: Most probable class.
        probabilities: Probability of each class.
        top: Names and probabilities of the most probable classes, descending.
        unsure: Whether the most probable class is less so than --min-confidence.
    """

    digit: Digit
    label: int
    probabilities: list[float]
    top: list[tuple[str, float]]
    unsure: bool


def predict(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="Pictures, folders (their own pictures, not their subfolders') or globs, which "
            "may be quoted; ** descends into folders. Files of many digits: IDX, CSV, NPY, NPZ, "
            "also gzipped. - is stdin.",
            metavar="IMAGE...",
            show_default=False,
        ),
    ] = None,
    *,
    digits: Annotated[
        int | None,
        typer.Option(min=1, max=60, help="Classify this many bundled MNIST digits.", metavar="N"),
    ] = None,
    artifact: Annotated[
        Path | None,
        typer.Option(help="An exported folder. Default: the bundled network.", metavar="DIR"),
    ] = None,
    backend: Backend = "auto",
    device: Device = "cpu",
    threads: Threads = None,
    top_k: Annotated[
        int, typer.Option("--top", "--top-k", min=1, max=10, help="Classes to list.")
    ] = 3,
    trust: Trust = False,
    min_confidence: Annotated[
        float,
        typer.Option(min=0, max=1, help="Mark answers less probable than this as unsure."),
    ] = 0.0,
    draw: Annotated[
        bool | None,
        typer.Option(
            "--draw/--no-draw", help=f"Default: draw up to {_DRAWN} digits, in {_WIDE} columns."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which handwritten digit a picture shows, with its probabilities.

    PNG, JPEG and the like, of any size: one digit a picture, dark on light or
    light on dark, which is detected and said; or IDX, CSV, NPY and NPZ. A file
    that cannot be used is reported, the rest goes on, and the exit code is 1.
    """
    if bool(images) == bool(digits):
        raise typer.BadParameter("give pictures, or --digits N, one of the two", param_hint="IMAGE")
    files, errors = match(images or [])
    if not digits and not files:
        reasons = "; ".join(f"{console.name(name)}: {why}" for name, why in errors.items())
        raise typer.BadParameter(reasons, param_hint="IMAGE")
    inputs = bundled(digits) if digits else read(files, errors)
    document: dict[str, Any] = {"artifact": None, "backend": None, "device": device}
    answers: list[_Answer] = []
    if inputs:
        with progress() as step:
            path = artifact or cache.default_artifact(progress=step)
        with lenet_runtime.load(
            path, backend=backend, device=device, threads=threads, trust=trust
        ) as session:
            document |= {"artifact": str(session.artifact.path), "backend": session.backend}
            if session.artifact.manifest.image_shape[0] == 3 and any(
                digit.found for digit in inputs
            ):
                raise InputError(
                    f"{session.artifact.path} takes pictures in colour, and this command looks for "
                    "one grey digit in each; in Python, lenet_runtime.load(...).predict(picture) "
                    "resizes them in colour"
                )
            answers = list(_classify(session, inputs, top_k, min_confidence))
    for name, message in errors.items():
        stderr.print(Text(f"error: {console.name(name)}: {message}", style="red"), soft_wrap=True)
    doubtful = [answer.digit for answer in answers if answer.digit.image.warnings]
    for digit in doubtful:
        why = "; ".join(digit.image.warnings)
        stderr.print(
            Text(f"doubtful: {console.name(digit.name)}: {why}", style="yellow"), soft_wrap=True
        )
    if as_json:
        document["predictions"] = [_as_json(answer) for answer in answers]
        document["errors"] = [{"path": path, "error": text} for path, text in errors.items()]
        print_json(document)
    elif answers:
        fits = len(answers) <= _DRAWN and stdout.width >= _WIDE
        _print(answers, fits if draw is None else draw)
    elif not errors:
        stdout.print("0 images: the files hold none", highlight=False)
    if errors:
        raise typer.Exit(1)


def _classify(
    session: lenet_runtime.Session, digits: list[Digit], top_k: int, min_confidence: float
) -> Iterator[_Answer]:
    """Run the digits in few calls; if the batch size is fixed, black images fill the last batch."""
    fixed = session.artifact.manifest.batch_size
    size = fixed or _BATCH
    for start in range(0, len(digits), size):
        chunk = digits[start : start + size]
        batch = np.zeros((fixed or len(chunk), 28, 28), np.uint8)
        batch[: len(chunk)] = [digit.image.pixels for digit in chunk]
        prediction = session.predict(batch, top_k=top_k)
        for i, digit in enumerate(chunk):
            yield _Answer(
                digit,
                int(prediction.labels[i]),
                [float(p) for p in prediction.probabilities[i]],
                prediction.top(i),
                bool(prediction.probabilities[i].max() < min_confidence),
            )


def _as_json(answer: _Answer) -> dict[str, Any]:
    digit = answer.digit
    document = {
        "path": digit.name,
        "label": answer.label,
        "probabilities": answer.probabilities,
        "top_k": [{"label": name, "probability": p} for name, p in answer.top],
        "unsure": answer.unsure,
        "inverted": digit.image.inverted,
        "steps": list(digit.image.steps),
        "shapes": digit.image.shapes,
        "warnings": list(digit.image.warnings),
    }
    if digit.label is not None:
        document |= {"expected": digit.label, "correct": answer.label == digit.label}
    return document


def _print(answers: list[_Answer], draw: bool) -> None:
    table = Table(show_lines=True)
    if draw:
        table.add_column("seen", no_wrap=True, width=20)
    table.add_column("picture", overflow="fold")
    table.add_column("answer", justify="center", no_wrap=True)
    table.add_column("probabilities", no_wrap=True)
    for answer in answers[:_LISTED]:
        drawing = [Text(half_blocks(answer.digit.image.pixels, stdout.encoding))] if draw else []
        picture = Text(console.name(answer.digit.name) + "\n").append_text(_note(answer))
        table.add_row(*drawing, picture, _label(answer), _bars(answer))
    stdout.print(table)
    if len(answers) > _LISTED:
        stdout.print(f"and {len(answers) - _LISTED} more, which --json lists", highlight=False)
    known = [answer for answer in answers if answer.digit.label is not None]
    if known:
        right = sum(answer.label == answer.digit.label for answer in known)
        stdout.print(f"{right} of {len(known)} right", highlight=False)


def _name(label: str) -> str:
    return console.name(label, _LONG if stdout.width >= 100 else _SHORT)


def _label(answer: _Answer) -> Text:
    doubtful = answer.unsure or answer.digit.image.warnings
    return Text(
        _name(answer.top[0][0]) + "?" * bool(doubtful), "bold yellow" if doubtful else "bold"
    )


def _bars(answer: _Answer) -> Text:
    width = max(len(_name(label)) for label, _ in answer.top)

    def line(label: str, p: float) -> str:
        return f"{_name(label):{width}} {bar(p, 10, stdout.encoding)} {p:6.1%}"

    return Text("\n".join(line(label, p) for label, p in answer.top))


def _note(answer: _Answer) -> Text:
    if answer.unsure:
        return Text("unsure", "yellow")
    if answer.digit.label is None:
        inverted = answer.digit.image.inverted
        return Text("dark ink, inverted" if inverted else "light ink, kept", "dim")
    right = answer.label == answer.digit.label
    return Text("right", "green") if right else Text(f"wrong: a {answer.digit.label}", "red")
