"""The training loop learns, and a recipe says how; each is what its name says."""

import json
from dataclasses import asdict

import pytest
import torch
from training_runs import make_split

from lenet_deploy.training import curves, data, loop
from lenet_deploy.training.recipe import DEFAULT_LR, Loss, Optimizer, Recipe, Schedule
from lenet_runtime.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def split():
    return make_split(320)


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
    state, net = loop.start(recipe), loop.start(recipe).net
    record = loop.train_epoch(state, split)
    order = torch.randperm(320, generator=data.generator(0, 0, purpose=data.ORDER))
    total = 0.0
    for chunk in order.split(64):
        net.zero_grad()
        x = data.preprocess(split.images[chunk], recipe.preprocessing)
        loss = torch.nn.functional.cross_entropy(net(x), split.labels[chunk])
        loss.backward()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.sub_(0.01 * (parameter.grad + recipe.weight_decay * parameter))
        total += loss.item() * len(chunk)
    for name, tensor in state.net.state_dict().items():
        torch.testing.assert_close(tensor, net.state_dict()[name], rtol=1e-5, atol=1e-6)
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
    calls, rate = [], loop.learning_rate

    def spy(recipe, step, steps):
        calls.append((step, steps))
        return rate(recipe, step, steps)

    monkeypatch.setattr(loop, "learning_rate", spy)
    state = loop.start(Recipe(epochs=2))
    for _ in range(2):
        loop.train_epoch(state, split)
    assert calls == [(step, 10) for step in range(10)]
    assert state.optimizer.param_groups[0]["lr"] == rate(state.recipe, 9, 10)


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


def test_another_seed_gives_other_weights():
    first, second = (loop.start(Recipe(seed=seed)).net.fc1.weight for seed in (1, 2))
    assert not torch.equal(first, second)


def test_training_leaves_the_global_generator_alone(split):
    before = torch.random.get_rng_state()
    loop.train_epoch(loop.start(Recipe()), split)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_curves_of_a_single_perfect_epoch_can_be_drawn(tmp_path):
    record = {"epoch": 1, "loss": 0.1, "accuracy": 1.0, "validation_accuracy": 1.0, "seconds": 1}
    curves.training_curves([record], tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
