"""Training learns, stops where the loss makes no sense, and leaves what it promises."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from mnist_files import make_digits
from training_runs import FLAGS, train

from lenet_deploy.training import curves, data, loop, runs
from lenet_deploy.training.checkpoint import load_checkpoint, read_checkpoint
from lenet_deploy.training.recipe import DEFAULT_LR, Loss, Optimizer, Recipe, Schedule
from lenet_runtime.errors import DeployError, InputError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def split():
    images, labels = make_digits(320, seed=1)
    return data.Split(torch.from_numpy(images), torch.from_numpy(labels).long())


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


def test_a_loss_that_is_not_finite_stops_training_and_spares_what_was_saved(mnist, tmp_path):
    flags = ("--lr", "1e9", "--optimizer", "sgd", "--loss", "mse")
    result = train(mnist, tmp_path, *flags, code=1)
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
        result = train(mnist, tmp_path, *FLAGS, code=1)
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
    train(mnist, tmp_path / "run", *flags, code=code)
    assert not (tmp_path / "run").exists()


def test_training_leaves_the_global_generator_alone(split):
    before = torch.random.get_rng_state()
    loop.train_epoch(loop.start(Recipe()), split)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_no_flags_means_the_default_recipe_and_sgd_its_own_rate(mnist, tmp_path):
    train(mnist, tmp_path / "a", "--epochs", 1)
    card = read_checkpoint(tmp_path / "a" / runs.WEIGHTS)[1]
    assert Recipe.from_dict(card["recipe"]) == Recipe(epochs=1)
    train(mnist, tmp_path / "b", "--epochs", 1, "--optimizer", "sgd")
    assert read_checkpoint(tmp_path / "b" / runs.WEIGHTS)[1]["recipe"]["lr"] == 0.01


def test_another_seed_gives_other_weights():
    one, two = (loop.start(Recipe(seed=seed)).net.fc1.weight for seed in (1, 2))
    assert not torch.equal(one, two)


# What it leaves


def test_a_run_leaves_weights_card_history_and_curves(straight):
    history = json.loads((straight / runs.HISTORY).read_text())
    assert [record["epoch"] for record in history["epochs"]] == [1, 2, 3]
    assert (straight / runs.CURVES).read_bytes().startswith(b"\x89PNG")
    card = read_checkpoint(straight / runs.WEIGHTS)[1]
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
    card = read_checkpoint(tmp_path / runs.WEIGHTS)[1]
    assert (card["data"]["digits"], card["data"]["held_out"]) == (220, 100)


def test_it_learns_digits_that_are_easy(mnist, tmp_path):
    flags = ("--epochs", 12, "--batch-size", 16, "--no-augment", "--threads", 1, "--json")
    accuracy = json.loads(train(mnist, tmp_path, *flags).stdout)["accuracy"]
    assert accuracy["test"]["accuracy"] >= 0.9


def test_curves_of_a_single_perfect_epoch_can_be_drawn(tmp_path):
    record = {"epoch": 1, "loss": 0.1, "accuracy": 1.0, "validation_accuracy": 1.0, "seconds": 1}
    curves.training_curves([record], tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
