"""A run that was stopped, however hard, goes on to the very bits it would have had."""

import contextlib
import json
import signal
from dataclasses import asdict

import pytest
import torch
from mnist_files import write_mnist
from processes import python
from training_runs import FLAGS, card_of, train, weights

from lenet_deploy.training import loop, runs
from lenet_deploy.training.checkpoint import load_checkpoint
from lenet_deploy.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")


def resume(mnist, folder):
    """Resume a run; returns the number of epochs that it had done."""
    result = train(mnist, folder, "--resume", "--threads", "1", "--json")
    return json.loads(result.stdout)["resumed_from_epoch"]


@contextlib.contextmanager
def stopped_after(epochs, monkeypatch):
    """Ctrl-C after this many epochs."""
    train_epoch = loop.train_epoch

    def interrupted(state, *arguments, **options):
        if state.epochs_done == epochs:
            raise KeyboardInterrupt
        return train_epoch(state, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_epoch", interrupted)
        yield


@pytest.mark.parametrize("at_step", [1, 8, 12])
def test_ctrl_c_exits_130_and_resume_ends_bit_for_bit_where_it_would_have(
    straight, mnist, tmp_path, monkeypatch, at_step
):
    """Five steps to an epoch: stopped in the first, second and third."""
    steps, step = [], torch.optim.SGD.step

    def interrupted(self, *arguments):
        steps.append(1)
        if len(steps) == at_step:
            raise KeyboardInterrupt
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", interrupted)
        assert "--resume" in train(mnist, tmp_path / "run", *FLAGS, code=130).stderr
    assert resume(mnist, tmp_path / "run") == (at_step - 1) // 5
    assert weights(tmp_path / "run") == weights(straight)


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "rmsprop"])
def test_the_optimizers_own_state_is_resumed(mnist, tmp_path, monkeypatch, optimizer):
    flags = ("--epochs", "2", "--optimizer", optimizer, "--threads", "1")
    train(mnist, tmp_path / "straight", *flags)
    with stopped_after(1, monkeypatch):
        train(mnist, tmp_path / "run", *flags, code=130)
    train(mnist, tmp_path / "run", "--resume")
    assert weights(tmp_path / "run") == weights(tmp_path / "straight")


# A process that kills itself for good at a chosen moment, when nothing can clean up after it.
KILLED = """
import os, signal, sys
import torch
from lenet_deploy.training import checkpoint
from lenet_deploy.__main__ import main

owner, name, count = {"step": (torch.optim.SGD, "step", 8),
                      "publish": (checkpoint, "save_checkpoint", 2),
                      "rename": (checkpoint.Path, "replace", 6)}[sys.argv.pop(1)]
original, calls = getattr(owner, name), []

def killed(*arguments):
    calls.append(1)
    if len(calls) == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)

setattr(owner, name, killed)
main()
"""


@pytest.mark.parametrize("moment", ["step", "publish", "rename"])
def test_sigkill_loses_at_most_one_epoch_and_mixes_nothing(straight, mnist, tmp_path, moment):
    """Killed in the second epoch: amid its steps, or while its files are being written."""
    folder = tmp_path / "run"
    words = ("train", "--data-dir", mnist, "-o", folder, *FLAGS)
    python(KILLED, moment, *words, exits=-signal.SIGKILL)
    epochs_done = runs.load_state(folder).state.epochs_done
    assert epochs_done == (1 if moment in ("step", "rename") else 2)
    load_checkpoint(folder / runs.WEIGHTS)
    assert card_of(folder)["epochs_done"] == 1

    assert resume(mnist, folder) == epochs_done
    assert weights(folder) == weights(straight)
    names = {file.name for file in folder.iterdir()}
    assert names == {file.name for file in straight.iterdir()}


def test_a_terminal_can_ask_the_process_to_stop(mnist, tmp_path):
    """A real SIGINT to a real process: exit code 130 and no traceback."""
    code = (
        "import os, signal, torch\n"
        "from lenet_deploy.__main__ import main\n"
        "step = torch.optim.SGD.step\n"
        "torch.optim.SGD.step = lambda self: (os.kill(os.getpid(), signal.SIGINT), step(self))\n"
        "main()"
    )
    process = python(code, "train", "--data-dir", mnist, "-o", tmp_path, *FLAGS, exits=130)
    assert "Traceback" not in process.stderr
    assert "0 of 3 epochs are kept" in " ".join(process.stderr.split())


def test_a_finished_run_is_resumed_without_a_change(straight, mnist):
    before = weights(straight)
    resume(mnist, straight)
    assert weights(straight) == before


def test_resume_keeps_the_threads_and_says_when_others_may_change_the_bits(
    mnist, tmp_path, monkeypatch
):
    with stopped_after(0, monkeypatch):
        train(mnist, tmp_path, *FLAGS, code=130)
        torch.set_num_threads(2)
        assert "note" not in train(mnist, tmp_path, "--resume", code=130).stderr
        assert torch.get_num_threads() == 1
    result = train(mnist, tmp_path, "--resume", "--threads", "2")
    assert "note: threads: 1, then 2" in result.stderr
    card = card_of(tmp_path)
    assert card["machine"]["threads"] == "1, then 2"
    assert card["command"].endswith("--device cpu --threads 1")
    before = weights(tmp_path)
    train(mnist, tmp_path, "--resume")
    assert weights(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--lr", "0.1"), "--lr 0.1 here, 0.05 there"),
        (("--epochs", "9", "--loss", "mse"), "--loss mse here, cross-entropy there"),
        (("--no-augment",), "--augment False here, True there"),
        (("--seed", "0"), "--seed 0 here, 5 there"),
    ],
)
def test_other_hyper_parameters_are_refused(straight, mnist, flags, named):
    assert named in train(mnist, straight, "--resume", *flags, code=2).stderr


def test_other_digits_are_refused(straight, tmp_path):
    result = train(write_mnist(tmp_path, seed=3), straight, "--resume", code=2)
    assert "found others" in result.stderr


def test_without_a_run_and_with_a_damaged_one_it_fails(straight, mnist, tmp_path):
    train(mnist, tmp_path, "--resume", code=1)
    whole = (straight / runs.STATE).read_bytes()
    torch.save({"recipe": asdict(Recipe())}, tmp_path / "other.pt")
    for content in (b"", whole[: len(whole) // 2], (tmp_path / "other.pt").read_bytes()):
        (tmp_path / runs.STATE).write_bytes(content)
        assert "--force" in train(mnist, tmp_path, "--resume", code=1).stderr
