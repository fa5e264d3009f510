"""`lenet-deploy train`: train LeNet on MNIST, and go on where a stopped run was."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lenet_deploy.cli.console import print_json, stderr, stdout
from lenet_deploy.cli.options import DataDir, Json, Seed, Threads
from lenet_deploy.training.recipe import DEFAULT_LR, Loss, Optimizer, Recipe, Schedule
from lenet_runtime.errors import InputError

if TYPE_CHECKING:
    from lenet_deploy.training.evaluation import Evaluation
    from lenet_deploy.training.loop import State
    from lenet_deploy.training.runs import Run

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
    optimizer: Annotated[Optimizer, typer.Option(help="How it steps.")] = Recipe.optimizer,
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
    mean: Annotated[float, typer.Option(help="Of a pixel in [0, 1].")] = Recipe.mean,
    std: Annotated[float, typer.Option(help="Of a pixel in [0, 1].")] = Recipe.std,
    seed: Seed = Recipe.seed,
    threads: Threads = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that load batches; 0 is fastest here.")
    ] = 0,
    download: Annotated[
        bool, typer.Option("--download/--no-download", help="Fetch MNIST if it is missing.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run there.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the run there.")] = False,
    as_json: Json = False,
) -> None:
    """Train LeNet on MNIST. The defaults repeat the bundled checkpoint's loop."""
    if resume and force:
        raise InputError("--resume and --force: expected at most one, found both")
    began = time.perf_counter()
    run, state = (_resume if resume else _begin)(ctx, data_dir, output)
    resumed_from = state.epochs_done
    _train(run, state, workers)
    result = _finish(run, state, data_dir)
    result |= {"resumed_from_epoch": resumed_from, "seconds": time.perf_counter() - began}
    if as_json:
        print_json(result)
    else:
        _print(result)


def _is_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def _given(ctx: typer.Context) -> dict[str, Any]:
    """The hyper-parameters that the user spelled out."""
    names = [field.name for field in fields(Recipe)]
    return {name: ctx.params[name] for name in names if _is_given(ctx, name)}


def _begin(ctx: typer.Context, data_dir: Path, output: Path) -> tuple["Run", "State"]:
    from lenet_deploy.training import loop, runs

    flags, given = ctx.params, _given(ctx)
    given.setdefault("lr", DEFAULT_LR[given.get("optimizer", Recipe.optimizer)])
    recipe = Recipe(**given)
    loop.check_device(flags["device"])
    _set_threads(flags["threads"])
    if not flags["force"]:
        runs.refuse_existing(output)
    machine = runs.machine(flags["device"])
    run = runs.open_run(recipe, data_dir, output, machine, download=flags["download"])
    state = loop.start(recipe, flags["device"])
    runs.begin(run, state)
    return run, state


def _resume(ctx: typer.Context, data_dir: Path, output: Path) -> tuple["Run", "State"]:
    """The run in `output`, on the device and with the threads it had, unless others are given."""
    from lenet_deploy.training import runs

    device = ctx.params["device"] if _is_given(ctx, "device") else None
    saved = runs.load_state(output, device)
    recipe, began = saved.state.recipe, saved.machine
    _require_same(recipe, replace(recipe, **_given(ctx)), output)
    _set_threads(ctx.params["threads"] or int(began["threads"][-1]))
    machine = began
    if saved.state.epochs_done < recipe.epochs:
        now = runs.machine(device or began["device"][-1])
        machine = runs.changed(began, now)
    run = runs.open_run(recipe, data_dir, output, machine, download=ctx.params["download"])
    if run.data_sha256 != saved.data_sha256:
        raise InputError(
            f"{data_dir}: expected the digits that the run in {output} began with (sha256 "
            f"{saved.data_sha256}), found others (sha256 {run.data_sha256})"
        )
    for name in began:
        if machine[name] != began[name]:
            stderr.print(
                f"note: {name}: {', then '.join(machine[name])}; "
                "the weights may differ in their last bits from an uninterrupted run's",
                highlight=False,
            )
    return run, saved.state


def _require_same(recipe: Recipe, wanted: Recipe, output: Path) -> None:
    differences = wanted.differences(recipe)
    if differences:
        raise InputError(
            f"{output}: expected the hyper-parameters of the run there, found "
            f"{'; '.join(differences)}. Leave these out, or begin again with --force."
        )


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def _train(run: "Run", state: "State", workers: int) -> None:
    from lenet_deploy.training import runs

    epochs = state.recipe.epochs
    try:
        with _progress(state) as on_step:
            runs.train(
                run,
                state,
                workers=workers,
                on_step=on_step,
                on_epoch=lambda record: stderr.print(_line(record, epochs), highlight=False),
            )
    except KeyboardInterrupt:
        stderr.print(
            f"stopped; {state.epochs_done} of {epochs} epochs are kept in {run.folder}. "
            "Add --resume to go on.",
            markup=False,
        )
        raise


@contextmanager
def _progress(state: "State") -> Iterator[Any]:
    """A bar over all epochs on stderr, with loss, accuracy and time left."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    epochs = state.recipe.epochs
    columns = (
        TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  accuracy {task.fields[accuracy]:.2%}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task(
            "", total=None, epochs=epochs, epoch=state.epochs_done + 1, loss=0.0, accuracy=0.0
        )

        def on_step(step: Any) -> None:
            progress.update(
                task,
                total=(epochs - first) * step.steps,
                completed=(step.epoch - 1 - first) * step.steps + step.step,
                epoch=step.epoch,
                loss=step.loss,
                accuracy=step.accuracy,
            )

        first = state.epochs_done
        yield on_step


def _line(record: dict[str, Any], epochs: int) -> str:
    held_out = record.get("validation_accuracy")
    return (
        f"epoch {record['epoch']}/{epochs}  loss {record['loss']:.4f}  "
        f"accuracy {record['accuracy']:.2%}"
        + (f"  held-out {held_out:.2%}" if held_out is not None else "")
        + f"  {record['seconds']:.1f} s"
    )


def _finish(run: "Run", state: "State", data_dir: Path) -> dict[str, Any]:
    """Judge the last epoch's weights and write what is left to write."""
    from lenet_deploy.training import curves, data, runs

    # A run that holds digits out is a trial, and trials must not see the test digits.
    test: Evaluation | None = None
    if run.held_out is None:
        test = runs.judge(state, data.load_mnist(data_dir, train=False))
    digest = runs.publish(run, state, test)
    curves.training_curves(state.history, run.folder / runs.CURVES)
    return {
        "output": str(run.folder),
        "checkpoint": str(run.folder / runs.WEIGHTS),
        "sha256": digest,
        "epochs": state.epochs_done,
        "accuracy": runs.card(run, state, test)["accuracy"],
    }


def _print(result: dict[str, Any]) -> None:
    accuracy = result["accuracy"]
    stdout.print(f"{result['checkpoint']}  ({result['epochs']} epochs)", markup=False)
    if accuracy["test"]:
        low, high = accuracy["test"]["interval_95"]
        share = accuracy["test"]["accuracy"]
        stdout.print(f"test accuracy {share:.2%}  (95% interval {low:.2%} to {high:.2%})")
    else:
        stdout.print(f"held-out accuracy {accuracy['validation']:.2%}")
