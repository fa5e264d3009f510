"""`lenet-deploy train`: train LeNet on MNIST, or resume a run that was stopped."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lenet_deploy.cli.console import (
    note,
    notes,
    plain,
    print_json,
    progress,
    say_next,
    starting_pytorch,
    stdout,
    warn,
)
from lenet_deploy.cli.options import DataDir, Download, Json, Seed, Threads, Workers
from lenet_deploy.cli.words import next_command
from lenet_deploy.training.recipe import DEFAULT_LR, Loss, Optimizer, Recipe, Schedule
from lenet_runtime.errors import InputError

if TYPE_CHECKING:
    from lenet_deploy.training.evaluation import Evaluation
    from lenet_deploy.training.loop import State
    from lenet_deploy.training.runs import TrainingRun

DEFAULT_LRS = ", ".join(f"{name} {rate}" for name, rate in DEFAULT_LR.items())


def train(
    ctx: typer.Context,
    *,
    data_dir: DataDir = Path("data"),
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for weights, card and curves.", metavar="DIR"),
    ] = Path("runs/lenet"),
    epochs: Annotated[int, typer.Option(help="Passes over the digits.")] = Recipe.epochs,
    batch_size: Annotated[int, typer.Option(help="Digits in a step.")] = Recipe.batch_size,
    loss: Annotated[Loss, typer.Option(help="What training minimises.")] = Recipe.loss,
    optimizer: Annotated[Optimizer, typer.Option(help="How training steps.")] = Recipe.optimizer,
    lr: Annotated[
        float | None,
        typer.Option(help="Peak learning rate.", show_default=DEFAULT_LRS),
    ] = None,
    schedule: Annotated[
        Schedule, typer.Option(help="How the learning rate moves.")
    ] = Recipe.schedule,
    weight_decay: Annotated[float, typer.Option(help="L2 penalty.")] = Recipe.weight_decay,
    augment: Annotated[
        bool, typer.Option("--augment/--no-augment", help="Distort training digits a little.")
    ] = Recipe.augment,
    validation: Annotated[
        int,
        typer.Option(
            help="Hold out this many training digits to judge a trial by, and leave the test "
            "digits alone. 0: train on all, then look at the test digits once.",
        ),
    ] = Recipe.validation,
    mean: Annotated[float, typer.Option(help="Mean of a pixel in [0, 1].")] = Recipe.mean,
    std: Annotated[float, typer.Option(help="Its standard deviation.")] = Recipe.std,
    seed: Seed = Recipe.seed,
    threads: Threads = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    workers: Workers = 0,
    download: Download = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --output.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the run in --output.")] = False,
    as_json: Json = False,
) -> None:
    """Train LeNet on MNIST. The defaults repeat the training of the bundled checkpoint."""
    if resume and force:
        raise InputError("--resume and --force: expected at most one, found both")
    began = time.perf_counter()
    with progress() as step:
        starting_pytorch(step)
        run, state = (_resume if resume else _begin)(ctx, data_dir, output)
    resumed_from = state.epochs_done
    _train(run, state, workers)
    result = _finish(run, state, data_dir)
    result |= {"resumed_from_epoch": resumed_from, "seconds": time.perf_counter() - began}
    if as_json:
        print_json(result)
    else:
        _print(result)
    trained = ("--checkpoint", result["checkpoint"])
    say_next(
        next_command(ctx, "evaluate", *trained),
        next_command(ctx, "export", *trained, "-o", run.folder / "artifacts"),
    )


def _is_explicit(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def _explicit(ctx: typer.Context) -> dict[str, Any]:
    """The hyper-parameters that are on the command line."""
    names = [field.name for field in fields(Recipe)]
    return {name: ctx.params[name] for name in names if _is_explicit(ctx, name)}


def _begin(ctx: typer.Context, data_dir: Path, output: Path) -> tuple["TrainingRun", "State"]:
    from lenet_deploy.training import loop, runs

    flags, values = ctx.params, _explicit(ctx)
    values.setdefault("lr", DEFAULT_LR[values.get("optimizer", Recipe.optimizer)])
    recipe = Recipe(**values)
    loop.check_device(flags["device"])
    loop.set_threads(flags["threads"])
    if not flags["force"]:
        runs.refuse_existing(output)
    machines = [runs.machine(flags["device"])]
    run = runs.open_run(recipe, data_dir, output, machines, download=flags["download"])
    state = loop.start(recipe, flags["device"])
    runs.begin(run, state)
    return run, state


def _resume(ctx: typer.Context, data_dir: Path, output: Path) -> tuple["TrainingRun", "State"]:
    """Load the run in `output`, on the same device and threads unless flags name others."""
    from lenet_deploy.training import loop, runs

    device = ctx.params["device"] if _is_explicit(ctx, "device") else None
    saved = runs.load_state(output, device)
    recipe, machines = saved.state.recipe, saved.machines
    differences = replace(recipe, **_explicit(ctx)).differences(recipe)
    if differences:
        raise InputError(
            f"{output}: expected the hyper-parameters of the run there, found "
            f"{'; '.join(differences)}. Leave these out, or begin again with --force."
        )
    last = machines[-1]
    loop.set_threads(ctx.params["threads"] or int(last["threads"]))
    machine = runs.machine(device or last["device"])
    if saved.state.epochs_done < recipe.epochs and machine != last:
        machines = [*machines, machine]
    run = runs.open_run(recipe, data_dir, output, machines, download=ctx.params["download"])
    if run.data_sha256 != saved.data_sha256:
        raise InputError(
            f"{data_dir}: expected the digits that the run in {output} began with (sha256 "
            f"{saved.data_sha256}), found others (sha256 {run.data_sha256})"
        )
    before = runs.describe(saved.machines)
    for name, text in runs.describe(machines).items():
        if text != before[name]:
            note(
                f"note: {name}: {plain(text)}; "
                "the weights may differ in their last bits from an uninterrupted run's"
            )
    return run, saved.state


def _train(run: "TrainingRun", state: "State", workers: int) -> None:
    from lenet_deploy.training import runs

    epochs = state.recipe.epochs
    try:
        with _progress(state) as on_step:
            runs.train(
                run,
                state,
                workers=workers,
                on_step=on_step,
                on_epoch=lambda record: note(_line(record, epochs)),
            )
    except KeyboardInterrupt:
        warn(
            f"stopped; {state.epochs_done} of {epochs} epochs are kept in {plain(run.folder)}. "
            "Add --resume to go on."
        )
        raise


@contextmanager
def _progress(state: "State") -> Iterator[Any]:
    """Show a bar over all epochs on stderr, with loss, accuracy and the time left."""
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    epochs, first = state.recipe.epochs, state.epochs_done
    columns = (
        TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  accuracy {task.fields[accuracy]:.2%}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=notes, transient=True) as progress:
        task = progress.add_task(
            "", total=None, epochs=epochs, epoch=first + 1, loss=0.0, accuracy=0.0
        )

        def on_step(record: dict[str, Any]) -> None:
            step, steps = record.pop("step"), record.pop("steps")
            done = (record["epoch"] - 1 - first) * steps + step
            progress.update(task, total=(epochs - first) * steps, completed=done, **record)

        yield on_step


def _line(record: dict[str, Any], epochs: int) -> str:
    held_out = record.get("validation_accuracy")
    return (
        f"epoch {record['epoch']}/{epochs}  loss {record['loss']:.4f}  "
        f"accuracy {record['accuracy']:.2%}"
        + (f"  held-out {held_out:.2%}" if held_out is not None else "")
        + f"  {record['seconds']:.1f} s"
    )


def _finish(run: "TrainingRun", state: "State", data_dir: Path) -> dict[str, Any]:
    """Judge the weights of the last epoch, and write the files that are still missing."""
    from lenet_deploy.training import curves, data, runs

    # A run that holds digits out is a trial, and trials must not see the test digits.
    test: Evaluation | None = None
    if run.held_out is None:
        test = runs.judge(state, data.load_mnist(data_dir, train=False))
    digest = runs.publish(run, state, test)
    curves.training_curves(
        state.history,
        run.folder / runs.CURVES,
        distorted=state.recipe.augment,
        test_accuracy=None if test is None else test.accuracy,
    )
    return {
        "output": str(run.folder),
        "checkpoint": str(run.folder / runs.WEIGHTS),
        "sha256": digest,
        "epochs": state.epochs_done,
        "accuracy": runs.card(run, state, test)["accuracy"],
    }


def _print(result: dict[str, Any]) -> None:
    accuracy = result["accuracy"]
    epochs = f"{result['epochs']} epoch{'s' * (result['epochs'] != 1)}"
    stdout.print(f"{plain(result['checkpoint'])}  ({epochs})", soft_wrap=True)
    if accuracy["test"]:
        low, high = accuracy["test"]["interval_95"]
        share = accuracy["test"]["accuracy"]
        stdout.print(f"test accuracy {share:.2%}  (95% interval {low:.2%} to {high:.2%})")
    else:
        stdout.print(f"held-out accuracy {accuracy['validation']:.2%}")
