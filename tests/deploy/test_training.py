"""Training learns, repeats itself exactly, survives being stopped, and refuses to mix two runs."""

import json
import signal
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from mnist_files import make_digits, write_mnist
from processes import python
from typer.testing import CliRunner

from lenet_deploy.cli import app
from lenet_deploy.training import curves, data, loop, runs
from lenet_deploy.training.checkpoint import load_checkpoint, read_card
from lenet_deploy.training.recipe import DEFAULT_LR, Loss, Optimizer, Recipe, Schedule
from lenet_runtime.errors import DeployError, InputError

FLAGS = ("--epochs", "3", "--threads", "1", "--seed", "5")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """A run's bits depend on the number of threads, and commands set it for the whole process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    return write_mnist(tmp_path_factory.mktemp("mnist"))


@pytest.fixture
def split():
    images, labels = make_digits(320, seed=1)
    return data.Split(torch.from_numpy(images), torch.from_numpy(labels).long())


@pytest.fixture(scope="module")
def straight(mnist, tmp_path_factory):
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    result = train(mnist, folder, *FLAGS)
    assert result.exit_code == 0, result.output
    return folder


def train(mnist, folder, *flags):
    return CliRunner().invoke(
        app, ["train", "--data-dir", str(mnist), "-o", str(folder), *map(str, flags)]
    )


def weights(folder: Path) -> bytes:
    return (folder / runs.WEIGHTS).read_bytes()


# Learning


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("optimizer", Optimizer)
def test_each_optimizer_reduces_each_loss(split, optimizer, loss):
    lr = {Optimizer.SGD: 0.1, Optimizer.MOMENTUM: 0.05, Optimizer.NESTEROV: 0.05}
    recipe = Recipe(
        epochs=4, batch_size=32, loss=loss, optimizer=optimizer, schedule=Schedule.CONSTANT,
        lr=lr.get(optimizer, DEFAULT_LR[optimizer]), augment=False,
    )  # fmt: skip
    state = loop.start(recipe)
    losses = [loop.train_epoch(state, split)["loss"] for _ in range(4)]
    assert losses[-1] < 0.98 * losses[0]


@pytest.mark.parametrize(
    ("name", "kind", "settings"),
    [
        ("sgd", torch.optim.SGD, {"momentum": 0, "nesterov": False}),
        ("momentum", torch.optim.SGD, {"momentum": 0.9, "nesterov": False}),
        ("nesterov", torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ("adam", torch.optim.Adam, {"betas": (0.9, 0.999)}),
        ("rmsprop", torch.optim.RMSprop, {"alpha": 0.99}),
    ],
)
def test_each_optimizer_is_what_its_name_says(name, kind, settings):
    recipe = Recipe(optimizer=Optimizer(name), lr=0.003, weight_decay=0.01)
    optimizer = loop.start(recipe).optimizer
    assert type(optimizer) is kind
    assert {**settings, "lr": 0.003, "weight_decay": 0.01}.items() <= optimizer.defaults.items()


def test_mse_is_taken_against_one_hot_targets():
    logits, labels = torch.randn(4, 10), torch.tensor([0, 9, 3, 3])
    targets = torch.zeros(4, 10)
    targets[range(4), labels] = 1
    expected = ((logits - targets) ** 2).mean()
    torch.testing.assert_close(loop.loss_function(Loss.MSE)(logits, labels), expected)


def test_an_epoch_is_the_plain_loop(split):
    """One epoch against zero_grad, forward, loss, backward and step written out here."""
    recipe = Recipe(
        epochs=1, lr=0.01, optimizer=Optimizer.SGD, schedule=Schedule.CONSTANT, augment=False
    )
    state, mine = loop.start(recipe), loop.start(recipe).net
    record = loop.train_epoch(state, split)
    order = torch.randperm(320, generator=data.generator(0, 0, purpose=data.ORDER))
    total = 0.0
    for chunk in order.split(64):
        mine.zero_grad()
        x = data.preprocess(split.images[chunk], recipe.preprocessing)
        loss = torch.nn.functional.cross_entropy(mine(x), split.labels[chunk])
        loss.backward()
        with torch.no_grad():
            for parameter in mine.parameters():
                parameter.sub_(0.01 * (parameter.grad + recipe.weight_decay * parameter))
        total += loss.item() * len(chunk)
    for name, tensor in state.net.state_dict().items():
        torch.testing.assert_close(tensor, mine.state_dict()[name], rtol=1e-5, atol=1e-6)
    assert record["loss"] == pytest.approx(total / 320, rel=1e-5)


def test_schedules_go_where_their_names_say():
    def rates(schedule):
        recipe = Recipe(lr=1.0, schedule=schedule)
        return [loop.learning_rate(recipe, step, 100) for step in range(100)]

    assert set(rates(Schedule.CONSTANT)) == {1.0}
    cosine, cycle = rates(Schedule.COSINE), rates(Schedule.ONE_CYCLE)
    assert cosine[0] == 1
    assert cosine == sorted(cosine, reverse=True)
    assert cosine[-1] < 0.001
    assert cycle[0] == pytest.approx(1 / 25)
    assert cycle.index(max(cycle)) == 25
    assert max(cycle) == 1
    assert cycle[-1] < 0.001


def test_the_schedule_sets_the_rate_of_each_step(split, monkeypatch):
    seen, rate = [], loop.learning_rate

    def spy(recipe, step, steps):
        seen.append((step, steps))
        return rate(recipe, step, steps)

    monkeypatch.setattr(loop, "learning_rate", spy)
    state = loop.start(Recipe(epochs=2))
    for _ in range(2):
        loop.train_epoch(state, split)
    assert seen == [(step, 10) for step in range(10)]
    assert state.optimizer.param_groups[0]["lr"] == rate(state.recipe, 9, 10)


# The recipe


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("validation", -1),
        ("seed", -1),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("std", float("inf")),
        ("mean", float("nan")),
        ("weight_decay", -0.1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')}: expected .*, found"):
        Recipe(**{name: value})


def test_a_recipe_survives_json():
    recipe = Recipe(loss=Loss.MSE, optimizer=Optimizer.ADAM, schedule=Schedule.COSINE, epochs=7)
    assert Recipe.from_dict(json.loads(json.dumps(asdict(recipe)))) == recipe


def test_the_command_on_the_card_makes_the_same_run(straight, mnist, tmp_path):
    command = read_card(straight / runs.WEIGHTS)["command"].split()
    assert command[:2] == ["lenet-deploy", "train"]
    assert train(mnist, tmp_path / "again", *command[2:]).exit_code == 0
    assert weights(tmp_path / "again") == weights(straight)


def test_no_flags_means_the_default_recipe_and_sgd_its_own_rate(mnist, tmp_path):
    train(mnist, tmp_path / "a", "--epochs", 1)
    assert Recipe.from_dict(read_card(tmp_path / "a" / runs.WEIGHTS)["recipe"]) == Recipe(epochs=1)
    train(mnist, tmp_path / "b", "--epochs", 1, "--optimizer", "sgd")
    assert read_card(tmp_path / "b" / runs.WEIGHTS)["recipe"]["lr"] == 0.01


# Repeating


def test_workers_change_no_bit(straight, mnist, tmp_path):
    assert train(mnist, tmp_path, *FLAGS, "--workers", "2").exit_code == 0
    assert weights(tmp_path) == weights(straight)


def test_another_seed_gives_other_weights():
    one, two = (loop.start(Recipe(seed=seed)).net.fc1.weight for seed in (1, 2))
    assert not torch.equal(one, two)


def test_training_leaves_the_global_generator_alone(split):
    before = torch.random.get_rng_state()
    loop.train_epoch(loop.start(Recipe()), split)
    assert torch.equal(torch.random.get_rng_state(), before)


# Stopping and going on


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
        stopped = train(mnist, tmp_path / "run", *FLAGS)
    assert stopped.exit_code == 130
    assert "--resume" in stopped.stderr
    resumed = train(mnist, tmp_path / "run", "--resume", "--threads", "1", "--json")
    assert resumed.exit_code == 0, resumed.output
    assert json.loads(resumed.stdout)["resumed_from_epoch"] == (at_step - 1) // 5
    assert weights(tmp_path / "run") == weights(straight)


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "rmsprop"])
def test_the_optimizers_own_state_is_resumed(mnist, tmp_path, monkeypatch, optimizer):
    flags = ("--epochs", "2", "--optimizer", optimizer, "--threads", "1")
    train(mnist, tmp_path / "straight", *flags)
    train_epoch = loop.train_epoch

    def interrupted(state, *arguments, **options):
        if state.epochs_done == 1:
            raise KeyboardInterrupt
        return train_epoch(state, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_epoch", interrupted)
        assert train(mnist, tmp_path / "run", *flags).exit_code == 130
    assert train(mnist, tmp_path / "run", "--resume").exit_code == 0
    assert weights(tmp_path / "run") == weights(tmp_path / "straight")


# A process that kills itself for good at a chosen moment, when nothing can clean up after it.
KILLED = """
import os, signal, sys
import torch
from lenet_deploy.training import checkpoint
from lenet_deploy.cli import main

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
    assert read_card(folder / runs.WEIGHTS)["epochs_done"] == 1

    resumed = train(mnist, folder, "--resume", "--threads", "1", "--json")
    assert json.loads(resumed.stdout)["resumed_from_epoch"] == epochs_done
    assert weights(folder) == weights(straight)
    names = {file.name for file in folder.iterdir()}
    assert names == {file.name for file in straight.iterdir()}


def test_a_finished_run_is_resumed_without_a_change(straight, mnist):
    before = weights(straight)
    assert train(mnist, straight, "--resume", "--threads", "1").exit_code == 0
    assert weights(straight) == before


def test_resume_keeps_the_threads_and_says_when_others_may_change_the_bits(
    straight, mnist, tmp_path, monkeypatch
):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_epoch", stop)
        train(mnist, tmp_path, *FLAGS)
        torch.set_num_threads(2)
        assert "note" not in train(mnist, tmp_path, "--resume").stderr
        assert torch.get_num_threads() == 1
    result = train(mnist, tmp_path, "--resume", "--threads", "2")
    assert "note: threads: 1, then 2" in result.stderr
    card = read_card(tmp_path / runs.WEIGHTS)
    assert card["machine"]["threads"] == "1, then 2"
    assert card["command"].endswith("--device cpu --threads 1")
    before = weights(tmp_path)
    assert train(mnist, tmp_path, "--resume").exit_code == 0
    assert weights(tmp_path) == before


# Refusing


def test_an_existing_run_is_not_overwritten_without_force(straight, mnist, tmp_path):
    before = weights(straight)
    result = train(mnist, straight, *FLAGS)
    assert result.exit_code == 2
    assert "--resume" in result.stderr
    assert "--force" in result.stderr
    assert weights(straight) == before
    train(mnist, tmp_path, "--epochs", 1)
    assert train(mnist, tmp_path, *FLAGS, "--force").exit_code == 0
    assert weights(tmp_path) == before


def test_a_forced_run_that_cannot_begin_leaves_the_old_one(straight, tmp_path):
    before = weights(straight)
    assert train(tmp_path, straight, *FLAGS, "--force").exit_code == 1
    assert weights(straight) == before


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--lr", "0.1"), "--lr 0.1 here, 0.05 there"),
        (("--epochs", "9", "--loss", "mse"), "--loss mse here, cross-entropy there"),
        (("--no-augment",), "--augment False here, True there"),
        (("--seed", "0"), "--seed 0 here, 5 there"),
    ],
)
def test_resume_with_other_hyper_parameters_is_refused(straight, mnist, flags, named):
    result = train(mnist, straight, "--resume", *flags)
    assert result.exit_code == 2
    assert named in result.stderr


def test_resume_with_other_digits_is_refused(straight, tmp_path):
    result = train(write_mnist(tmp_path, seed=3), straight, "--resume")
    assert result.exit_code == 2
    assert "found others" in result.stderr


def test_resume_without_a_run_and_with_a_damaged_one_fails(straight, mnist, tmp_path):
    assert train(mnist, tmp_path, "--resume").exit_code == 1
    whole = (straight / runs.STATE).read_bytes()
    torch.save({"recipe": asdict(Recipe())}, tmp_path / "other.pt")
    for content in (b"", whole[: len(whole) // 2], (tmp_path / "other.pt").read_bytes()):
        (tmp_path / runs.STATE).write_bytes(content)
        result = train(mnist, tmp_path, "--resume")
        assert result.exit_code == 1
        assert "Traceback" not in result.output
        assert "--force" in result.stderr


def test_a_loss_that_is_not_finite_stops_training_and_spares_what_was_saved(mnist, tmp_path):
    result = train(mnist, tmp_path, "--lr", "1e9", "--optimizer", "sgd", "--loss", "mse")
    assert result.exit_code == 1
    assert "expected a finite loss, found" in result.stderr
    assert "--lr" in result.stderr
    assert runs.load_state(tmp_path).state.epochs_done == 0


def test_a_non_finite_loss_is_an_error_in_the_library_too(split):
    state = loop.start(replace(Recipe(), lr=1e30))
    with pytest.raises(DeployError, match="training stopped in epoch 1, step"):
        loop.train_epoch(state, split)


def test_weights_spoilt_by_an_epochs_last_step_are_not_saved(mnist, tmp_path, monkeypatch):
    steps, step = [], torch.optim.SGD.step

    def spoil(self, *arguments):
        steps.append(1)
        step(self, *arguments)
        if len(steps) == 10:
            self.param_groups[0]["params"][0].data[0] = float("nan")

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", spoil)
        result = train(mnist, tmp_path, *FLAGS)
    assert result.exit_code == 1
    assert "found NaN or infinity in conv1.weight" in result.stderr
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
    result = train(mnist, tmp_path / "run", *flags)
    assert result.exit_code == code
    assert not (tmp_path / "run").exists()


# What it leaves


def test_a_run_leaves_weights_card_history_and_curves(straight):
    history = json.loads((straight / runs.HISTORY).read_text())
    assert [record["epoch"] for record in history["epochs"]] == [1, 2, 3]
    assert (straight / runs.CURVES).read_bytes().startswith(b"\x89PNG")
    card = read_card(straight / runs.WEIGHTS)
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
    assert result.exit_code == 0, result.output
    accuracy = json.loads(result.stdout)["accuracy"]
    assert accuracy["test"] is None
    assert 0 <= accuracy["validation"] <= 1
    card = read_card(tmp_path / runs.WEIGHTS)
    assert (card["data"]["digits"], card["data"]["held_out"]) == (220, 100)


def test_it_learns_digits_that_are_easy(mnist, tmp_path):
    flags = ("--epochs", 12, "--batch-size", 16, "--no-augment", "--threads", 1, "--json")
    accuracy = json.loads(train(mnist, tmp_path, *flags).stdout)["accuracy"]
    assert accuracy["test"]["accuracy"] >= 0.9


def test_curves_of_a_single_perfect_epoch_can_be_drawn(tmp_path):
    record = {"epoch": 1, "loss": 0.1, "accuracy": 1.0, "validation_accuracy": 1.0, "seconds": 1}
    curves.training_curves([record], tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_the_process_that_trains_can_be_asked_to_stop_by_a_terminal(mnist, tmp_path):
    """A real SIGINT to a real process: exit code 130 and no traceback."""
    code = (
        "import os, signal, torch\n"
        "from lenet_deploy.cli import main\n"
        "step = torch.optim.SGD.step\n"
        "torch.optim.SGD.step = lambda self: (os.kill(os.getpid(), signal.SIGINT), step(self))\n"
        "main()"
    )
    process = python(code, "train", "--data-dir", mnist, "-o", tmp_path, *FLAGS, exits=130)
    assert "Traceback" not in process.stderr
    assert "0 of 3 epochs are kept" in " ".join(process.stderr.split())
