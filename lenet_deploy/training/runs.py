"""A run's folder: what training leaves there, and how a run that was stopped goes on.

``resume.pt`` holds everything of one moment (weights, optimizer, history) in one file that is
replaced in one rename, so nothing in it can come from two epochs. The other files are derived
from it, and derived again on resuming, should a kill have come between them.
"""

import io
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_deploy.training.recipe import Recipe
from lenet_runtime.errors import ArtifactError, InputError

if TYPE_CHECKING:
    from lenet_deploy.training.data import Split
    from lenet_deploy.training.evaluation import Evaluation
    from lenet_deploy.training.loop import State, Step

# Device, threads and torch's version of each machine that a run was on, in order.
Machines = dict[str, list[str]]
STATE, HISTORY, CURVES = "resume.pt", "history.json", "curves.png"
WEIGHTS, CARD = "lenet.safetensors", "lenet.json"


@dataclass(frozen=True)
class Run:
    """A run and its folder.

    Attributes:
        folder: where its files are.
        digits: what it trains on.
        held_out: what judges it after each epoch; None where it trains on all digits.
        data_sha256: of all training digits, so that it cannot go on with others.
        machine: what the run was on, see `machine`.
    """

    folder: Path
    digits: "Split"
    held_out: "Split | None"
    data_sha256: str
    machine: Machines


def open_run(
    recipe: Recipe, data_dir: Path, folder: Path, where: Machines, *, download: bool = False
) -> Run:
    """Read MNIST's training digits, hold out what the recipe says; nothing is written yet.

    Raises:
        ArtifactError: MNIST is missing or damaged.
        InputError: more digits are to be held out than there are.
    """
    from lenet_deploy.training import data

    digits = data.load_mnist(data_dir, train=True, download=download)
    digest = digits.sha256()
    kept, held_out = data.hold_out(digits, recipe.validation)
    return Run(folder, kept, held_out if recipe.validation else None, digest, where)


def refuse_existing(folder: Path) -> None:
    """Raise `InputError` if `folder` holds a run, because this one would overwrite it."""
    found = [name for name in (STATE, WEIGHTS, HISTORY) if (folder / name).exists()]
    if found:
        raise InputError(
            f"{folder}: expected no run here yet, found {', '.join(found)}. Add --resume to go on "
            "with it, --force to overwrite it, or name another folder with --output."
        )


def begin(run: Run, state: "State") -> None:
    """Make the run's folder, remove what an earlier run left, and save the first weights.

    From here on there is always a state to resume from. The old run's state goes last, so that
    a kill never leaves its weights beside the new one's state.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, CARD, HISTORY, CURVES):
        (run.folder / name).unlink(missing_ok=True)
    _remove_half_written(run.folder)
    save_state(run, state)


def _remove_half_written(folder: Path) -> None:
    for name in (STATE, WEIGHTS, CARD, HISTORY, CURVES):
        for left in folder.glob(f".{name}.*.tmp"):
            left.unlink(missing_ok=True)


def save_state(run: Run, state: "State") -> None:
    """Write all that training needs to go on, in one atomic step."""
    import torch

    from lenet_runtime.artifact.files import write_atomically

    buffer = io.BytesIO()
    document = {
        "recipe": {name: _plain(value) for name, value in asdict(state.recipe).items()},
        "data_sha256": run.data_sha256,
        "machine": run.machine,
        "epochs_done": state.epochs_done,
        "history": state.history,
        "net": state.net.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }
    torch.save(document, buffer)
    write_atomically(run.folder / STATE, buffer.getvalue())


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Saved:
    """A run as it was saved: its state, and what must be the same for the next bits to be."""

    state: "State"
    data_sha256: str
    machine: Machines


def load_state(folder: Path, device: str | None = None) -> Saved:
    """Read the state that `save_state` wrote, onto `device` or the one that it was on.

    Raises:
        ArtifactError: there is none, or it is damaged.
        BackendUnavailable: the device is not here.
    """
    import torch

    from lenet_deploy.training import loop
    from lenet_deploy.training.checkpoint import UNREADABLE, check_weights

    path = folder / STATE
    if not path.is_file():
        raise ArtifactError(
            f"{path}: expected a run to resume, found none. Leave out --resume to begin one."
        )
    _remove_half_written(folder)
    try:
        saved = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
        device = device or str(saved["machine"]["device"][-1])
        loop.check_device(device)
        state = loop.start(Recipe.from_dict(saved["recipe"]), device)
        check_weights(state.net, saved["net"], str(path))
        state.net.load_state_dict(saved["net"])
        state.optimizer.load_state_dict(saved["optimizer"])
        state.epochs_done, state.history = saved["epochs_done"], saved["history"]
        return Saved(state, saved["data_sha256"], saved["machine"])
    except UNREADABLE as error:
        raise ArtifactError(
            f"{path}: expected the state of a run, found a damaged file ({error}). "
            "Begin again with --force."
        ) from error


def machine(device: str) -> Machines:
    """What, besides recipe and digits, decides the bits of the weights."""
    import torch

    return {
        "device": [device],
        "threads": [str(torch.get_num_threads())],
        "torch": [str(torch.__version__)],
    }


def train(
    run: Run,
    state: "State",
    *,
    workers: int = 0,
    on_step: "Callable[[Step], None]" = lambda step: None,
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None,
) -> None:
    """Train `state` to the recipe's last epoch; after each one, judge it and save everything."""
    from lenet_deploy.training import loop

    while state.epochs_done < state.recipe.epochs:
        record = loop.train_epoch(state, run.digits, workers=workers, on_step=on_step)
        if run.held_out is not None:
            record["validation_accuracy"] = judge(state, run.held_out).accuracy
        state.history.append(record)
        save_state(run, state)
        publish(run, state)
        on_epoch(record)


def judge(state: "State", digits: "Split") -> "Evaluation":
    """Evaluate the network as it stands."""
    from lenet_deploy.training import evaluation

    state.net.eval()
    batches = evaluation.examples(digits, state.recipe.preprocessing)
    return evaluation.evaluate(evaluation.as_classifier(state.net), batches)


def publish(run: Run, state: "State", test: "Evaluation | None" = None) -> str:
    """Write weights, card and history from `state`; returns the weights file's SHA-256."""
    from lenet_deploy.training.checkpoint import json_bytes, save_checkpoint
    from lenet_runtime.artifact.files import write_atomically

    history = {"recipe": asdict(state.recipe), "epochs": state.history}
    write_atomically(run.folder / HISTORY, json_bytes(history))
    return save_checkpoint(state.net, run.folder / WEIGHTS, card(run, state, test))


def card(run: Run, state: "State", test: "Evaluation | None" = None) -> dict[str, Any]:
    """What the weights are and how they came to be; the same run gives the same card."""
    from lenet_deploy import __version__

    last = state.history[-1] if state.history else {}
    return {
        "model": "lenet_deploy.training.model.Net",
        "parameters": sum(p.numel() for p in state.net.parameters()),
        "command": f"{state.recipe.command()} {_flags(run.machine)}",
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
            "torch": ", then ".join(run.machine["torch"]),
            "torchvision": version("torchvision"),
            "numpy": version("numpy"),
            "python": platform.python_version(),
        },
        "machine": {name: ", then ".join(values) for name, values in run.machine.items()},
    }


def _flags(where: Machines) -> str:
    """The flags for the machine that a run began on."""
    return f"--device {where['device'][0]} --threads {where['threads'][0]}"


def changed(began: Machines, now: Machines) -> Machines:
    """What `machine` says of a run that `began` on one machine and goes on with another."""
    return {
        name: values if now[name][-1] == values[-1] else values + now[name]
        for name, values in began.items()
    }
