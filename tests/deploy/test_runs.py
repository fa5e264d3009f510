"""A run leaves its files, repeats itself exactly, and refuses flags that make no sense."""

import json

import pytest
import torch
from training_runs import FLAGS, card_of, train, weights

from lenet_deploy.training import data, runs
from lenet_deploy.training.checkpoint import load_checkpoint
from lenet_deploy.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_command_on_the_card_makes_the_same_run(straight, mnist, tmp_path):
    command = card_of(straight)["command"].split()
    assert command[:2] == ["lenet-deploy", "train"]
    train(mnist, tmp_path / "again", *command[2:])
    assert weights(tmp_path / "again") == weights(straight)


def test_no_flags_means_the_default_recipe_and_sgd_its_own_rate(mnist, tmp_path):
    train(mnist, tmp_path / "a", "--epochs", 1)
    assert Recipe.from_dict(card_of(tmp_path / "a")["recipe"]) == Recipe(epochs=1)
    train(mnist, tmp_path / "b", "--epochs", 1, "--optimizer", "sgd")
    assert card_of(tmp_path / "b")["recipe"]["lr"] == 0.01


def test_workers_change_no_bit(straight, mnist, tmp_path):
    train(mnist, tmp_path, *FLAGS, "--workers", "2")
    assert weights(tmp_path) == weights(straight)


def test_an_existing_run_is_not_overwritten_without_force(straight, mnist, tmp_path):
    before = weights(straight)
    message = train(mnist, straight, *FLAGS, code=2).stderr
    assert "--resume" in message
    assert "--force" in message
    assert weights(straight) == before
    train(mnist, tmp_path, "--epochs", 1)
    train(mnist, tmp_path, *FLAGS, "--force")
    assert weights(tmp_path) == before


def test_a_forced_run_that_cannot_begin_leaves_the_old_one(straight, tmp_path):
    before = weights(straight)
    train(tmp_path, straight, *FLAGS, "--force", code=1)
    assert weights(straight) == before


def test_a_loss_that_is_not_finite_stops_training_and_spares_what_was_saved(mnist, tmp_path):
    flags = ("--lr", "1e9", "--optimizer", "sgd", "--loss", "mse")
    message = train(mnist, tmp_path, *flags, code=1).stderr
    assert "training stopped in epoch 1, step 2: expected a finite loss, found" in message
    assert "--lr" in message
    assert runs.load_state(tmp_path).state.epochs_done == 0


def test_weights_spoilt_by_an_epochs_last_step_are_not_saved(mnist, tmp_path, monkeypatch):
    steps, step = [], torch.optim.SGD.step

    def spoil(self, *arguments):
        steps.append(1)
        step(self, *arguments)
        if len(steps) == 10:
            self.param_groups[0]["params"][0].data[0] = float("nan")

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", spoil)
        message = train(mnist, tmp_path, *FLAGS, code=1).stderr
    assert "found NaN or infinity in conv1.weight" in message
    assert runs.load_state(tmp_path).state.epochs_done == 1
    load_checkpoint(tmp_path / runs.WEIGHTS)


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--epochs", "0"), 2),
        (("--optimizer", "adagrad"), 2),
        (("--validation", "320"), 2),
        (("--device", "tpu"), 2),
        (("--device", "cpu:"), 2),
        (("--device", "cuda:99"), 4),
        (("--resume", "--force"), 2),
    ],
)
def test_flags_that_make_no_sense_are_refused_before_anything_is_written(
    mnist, tmp_path, flags, code
):
    train(mnist, tmp_path / "run", *flags, code=code)
    assert not (tmp_path / "run").exists()


def test_a_run_leaves_weights_card_history_and_curves(straight):
    history = json.loads((straight / runs.HISTORY).read_text())
    assert [record["epoch"] for record in history["epochs"]] == [1, 2, 3]
    assert (straight / runs.CURVES).read_bytes().startswith(b"\x89PNG")
    card = card_of(straight)
    assert card["epochs_done"] == 3
    assert card["data"]["digits"] == 320
    assert card["accuracy"]["test"]["total"] == 50
    assert card["preprocessing"] == {"mean": 0.1307, "std": 0.3081, "padding": 2}


def test_a_trial_holds_digits_out_and_never_reads_the_test_digits(mnist, tmp_path, monkeypatch):
    load_mnist = data.load_mnist

    def training_digits_only(data_dir, *, train, download=False):
        assert train, "a trial read the test digits"
        return load_mnist(data_dir, train=train, download=download)

    monkeypatch.setattr(data, "load_mnist", training_digits_only)
    result = train(mnist, tmp_path, *FLAGS, "--validation", "100", "--json")
    accuracy = json.loads(result.stdout)["accuracy"]
    assert accuracy["test"] is None
    assert 0 <= accuracy["validation"] <= 1
    card = card_of(tmp_path)
    assert (card["data"]["digits"], card["data"]["held_out"]) == (220, 100)


def test_it_learns_digits_that_are_easy(mnist, tmp_path):
    flags = ("--epochs", 12, "--batch-size", 16, "--no-augment", "--threads", 1, "--json")
    accuracy = json.loads(train(mnist, tmp_path, *flags).stdout)["accuracy"]
    assert accuracy["test"]["accuracy"] >= 0.9
