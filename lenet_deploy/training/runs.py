"""The folder of a training run: the files in it, and how a stopped run goes on.

``resume.pt`` holds the weights, the optimizer and the history of one moment in one file that is
replaced by one rename, so nothing in it can come from two epochs. The other files are written
from that state, and again on resuming, in case the process was killed in between.
"""

import io
import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from lenet_deploy import __version__
from lenet_deploy.training import data, evaluation, loop
from lenet_deploy.training.checkpoint import check_weights, json_bytes, save_checkpoint
from lenet_deploy.training.data import Split
from lenet_deploy.training.evaluation import Evaluation
from lenet_deploy.training.loop import Record, State
from lenet_deploy.training.recipe import Recipe
from lenet_deploy.training.weights_file import UNREADABLE, bytes_of
from lenet_runtime.artifact.files import write_atomically
from lenet_runtime.errors import ArtifactError, InputError
from lenet_runtime.version import installed

STATE, HISTORY, CURVES = "resume.pt", "history.json", "curves.png"
WEIGHTS, CARD = "lenet.safetensors", "lenet.json"

Machine = dict[str, str]  # device, threads and torch's version, as `machine` returns them


@dataclass(frozen=True)
class TrainingRun:
    """A training run, with its digits in memory.

    Attributes:
        folder: Folder of the run's files.
        digits: Digits to train on.
        held_out: Digits that judge each epoch; None where the run trains on all digits.
        data_sha256: Hash of all training digits, so that a run cannot go on with others.
        machines: Machines that the run was on, in order; a resumed run may have several.
    """

    folder: Path
    digits: Split
    held_out: Split | None
    data_sha256: str
    machines: list[Machine]


def open_run(
    recipe: Recipe, data_dir: Path, folder: Path, machines: list[Machine], *, download: bool = False
) -> TrainingRun:
    """Read MNIST's training digits and hold out those of the recipe; nothing is written yet.

    Raises:
        ArtifactError: MNIST is missing or damaged.
        InputError: the recipe holds out more digits than there are.
    """
    digits = data.load_mnist(data_dir, train=True, download=download)
    digest = digits.sha256()
    kept, held_out = data.hold_out(digits, recipe.validation)
    return TrainingRun(folder, kept, held_out if recipe.validation else None, digest, machines)


def refuse_existing(folder: Path) -> None:
    """Raise `InputError` if `folder` holds a run, because a new run would overwrite it."""
    names = [name for name in (STATE, WEIGHTS, HISTORY) if (folder / name).exists()]
    if names:
        raise InputError(
            f"{folder}: expected no run here yet, found {', '.join(names)}. Add --resume to go on "
            "with it, --force to overwrite it, or name another folder with --output."
        )


def begin(run: TrainingRun, state: State) -> None:
    """Make the run's folder, remove the files of an earlier run, and save the first weights.

    From here on there is always a state to resume from. The state of an earlier run is replaced
    last, so that a kill never leaves its weights beside the new state.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, CARD, HISTORY, CURVES):
        (run.folder / name).unlink(missing_ok=True)
    _remove_half_written(run.folder)
    save_state(run, state)


def _remove_half_written(folder: Path) -> None:
    for name in (STATE, WEIGHTS, CARD, HISTORY, CURVES):
        for path in folder.glob(f".{name}.*.tmp"):
            path.unlink(missing_ok=True)


def save_state(run: TrainingRun, state: State) -> None:
    """Write everything that training needs to go on, atomically."""
    buffer = io.BytesIO()
    document = {
        "recipe": json.dumps(asdict(state.recipe)),
        "data_sha256": run.data_sha256,
        "machines": run.machines,
        "epochs_done": state.epochs_done,
        "history": state.history,
        "net": state.net.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }
    torch.save(document, buffer)
    write_atomically(run.folder / STATE, buffer.getvalue())


@dataclass(frozen=True)
class Saved:
    """What `save_state` wrote.

    Attributes:
        state: State of training.
        data_sha256: Hash of all training digits of the run.
        machines: Machines that the run was on, in order.
    """

    state: State
    data_sha256: str
    machines: list[Machine]


def load_state(folder: Path, device: str | None = None) -> Saved:
    """Read what `save_state` wrote, onto `device` or else the run's last device.

    Raises:
        ArtifactError: the file is missing or damaged.
        BackendUnavailable: this machine has no such device.
    """
    path = folder / STATE
    if not path.is_file():
        raise ArtifactError(
            f"{path}: expected a run to resume, found none. Leave out --resume to begin one."
        )
    _remove_half_written(folder)
    try:
        saved = torch.load(io.BytesIO(bytes_of(path)), map_location="cpu", weights_only=True)
        device = device or str(saved["machines"][-1]["device"])
        loop.check_device(device)
        state = loop.start(Recipe.from_dict(json.loads(saved["recipe"])), device)
        check_weights(state.net, saved["net"], str(path))
        state.net.load_state_dict(saved["net"])
        state.optimizer.load_state_dict(saved["optimizer"])
        state.epochs_done, state.history = saved["epochs_done"], saved["history"]
        return Saved(state, saved["data_sha256"], saved["machines"])
    except UNREADABLE as error:
        raise ArtifactError(
            f"{path}: expected the state of a run, found a damaged file ({error}). "
            "Begin again with --force."
        ) from error


def machine(device: str) -> Machine:
    """What the bits of the weights depend on besides the recipe and the digits."""
    threads, release = torch.get_num_threads(), torch.__version__
    return {"device": device, "threads": str(threads), "torch": str(release)}


def describe(machines: list[Machine]) -> Machine:
    """All machines of a run in words, such as ``1, then 2`` threads."""
    return {
        name: ", then ".join(value for value, _ in groupby(machine[name] for machine in machines))
        for name in machines[0]
    }


def train(
    run: TrainingRun,
    state: State,
    *,
    workers: int = 0,
    on_step: Callable[[Record], None] = lambda record: None,
    on_epoch: Callable[[Record], None] = lambda record: None,
) -> None:
    """Train `state` to the recipe's last epoch; judge it and save everything after each epoch."""
    while state.epochs_done < state.recipe.epochs:
        record = loop.train_epoch(state, run.digits, workers=workers, on_step=on_step)
        if run.held_out is not None:
            record["validation_accuracy"] = judge(state, run.held_out).accuracy
        state.history.append(record)
        save_state(run, state)
        publish(run, state)
        on_epoch(record)


def judge(state: State, digits: Split) -> Evaluation:
    """Evaluate the network in its present state."""
    state.net.eval()
    return evaluation.evaluate(state.net, digits, state.recipe.preprocessing)


def publish(run: TrainingRun, state: State, test: Evaluation | None = None) -> str:
    """Write weights, card and history of `state`; return the SHA-256 of the weights' file."""
    history = {"recipe": asdict(state.recipe), "epochs": state.history}
    write_atomically(run.folder / HISTORY, json_bytes(history))
    return save_checkpoint(state.net, run.folder / WEIGHTS, card(run, state, test))


def card(run: TrainingRun, state: State, test: Evaluation | None = None) -> dict[str, Any]:
    """Describe the weights and how they were trained; equal runs give equal cards."""
    last = state.history[-1] if state.history else {}
    first, machines = run.machines[0], describe(run.machines)
    flags = f"--device {first['device']} --threads {first['threads']}"
    return {
        "model": "lenet_deploy.training.model.Net",
        "parameters": sum(p.numel() for p in state.net.parameters()),
        "command": f"{state.recipe.command()} {flags}",
        "recipe": asdict(state.recipe),
        "epochs_done": state.epochs_done,
        "data": {
            "name": "MNIST (LeCun, Cortes, Burges), training digits",
            "digits": len(run.digits),
            "held_out": len(run.held_out or ()),
            "sha256": run.data_sha256,
        },
        "preprocessing": asdict(state.recipe.preprocessing),
        "accuracy": {
            "training": last.get("accuracy"),
            "validation": last.get("validation_accuracy"),
            "test": test.summary() if test else None,
        },
        "versions": {
            "lenet-deploy": __version__,
            "torch": machines["torch"],
            "torchvision": installed("torchvision"),
            "numpy": version("numpy"),
            "python": platform.python_version(),
        },
        "machine": machines,
    }
