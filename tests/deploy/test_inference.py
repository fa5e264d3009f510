"""The network is inferred from names and shapes where these say it, and asked for where not."""

from collections import OrderedDict

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from lenet_deploy.training.checkpoint import load_network
from lenet_deploy.training.family import LeNet
from lenet_deploy.training.model import Net
from lenet_runtime.errors import ArtifactError, InputError


class Tutorial(nn.Module):
    """The LeNet of today's PyTorch tutorials, and what people make of it."""

    def __init__(
        self, channels=1, kernel=5, features=400, classes=10, norm=False, bias=True,
        widths=(6, 16, 120, 84), activation=F.relu, pool=F.max_pool2d, padding=0,
    ):  # fmt: skip
        super().__init__()
        first, second, third, fourth = widths
        self.activation, self.pool = activation, pool
        self.conv1 = nn.Conv2d(channels, first, kernel, padding=padding, bias=bias)
        self.conv2 = nn.Conv2d(first, second, kernel, bias=bias)
        self.bn1 = nn.BatchNorm2d(first) if norm else nn.Identity()
        self.bn2 = nn.BatchNorm2d(second) if norm else nn.Identity()
        self.fc1 = nn.Linear(features, third)
        self.fc2 = nn.Linear(third, fourth)
        self.fc3 = nn.Linear(fourth, classes)

    def forward(self, x):
        x = self.pool(self.activation(self.bn1(self.conv1(x))), 2)
        x = self.pool(self.activation(self.bn2(self.conv2(x))), 2)
        x = self.activation(self.fc1(x.flatten(1)))
        return self.fc3(self.activation(self.fc2(x)))


def numbered(kernel=5, features=400):
    return nn.Sequential(
        nn.Conv2d(1, 6, kernel), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, kernel), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(features, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


class Split(nn.Module):
    """torchvision's way: features, then a classifier, which sorts before them."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 20, 5, padding=2), nn.BatchNorm2d(20), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5, padding=2), nn.BatchNorm2d(50), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Dropout(), nn.Linear(50 * 64, 500), nn.ReLU(), nn.Linear(500, 100)
        )

    def forward(self, x):
        return self.classifier(self.features(x))


def lenet_5():
    """LeCun's, whose third convolution leaves one pixel."""
    return nn.Sequential(OrderedDict(
        c1=nn.Conv2d(1, 6, 5), t1=nn.Tanh(), s2=nn.AvgPool2d(2),
        c3=nn.Conv2d(6, 16, 5), t3=nn.Tanh(), s4=nn.AvgPool2d(2),
        c5=nn.Conv2d(16, 120, 5), t5=nn.Tanh(), flat=nn.Flatten(),
        f6=nn.Linear(120, 84), t6=nn.Tanh(), output=nn.Linear(84, 10),
    ))  # fmt: skip


def examples():
    """PyTorch's examples/mnist, which pools once."""
    return nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(1, 32, 3), r1=nn.ReLU(), conv2=nn.Conv2d(32, 64, 3), r2=nn.ReLU(),
        pool=nn.MaxPool2d(2), flat=nn.Flatten(), fc1=nn.Linear(9216, 128), r3=nn.ReLU(),
        fc2=nn.Linear(128, 10),
    ))  # fmt: skip


TANH = {"activation": "tanh", "pooling": "average"}
# The module, what is told beside its weights, and the line that is said.
MEMBERS = {
    "5x5": (
        Tutorial,
        {},
        "conv 5x5 1->6, max pool, conv 5x5 6->16, max pool, dense 400-120-84-10, ReLU, "
        "input 1x32x32",
    ),
    "28x28": (
        lambda: Tutorial(features=256),
        {},
        "conv 5x5 1->6, max pool, conv 5x5 6->16, max pool, dense 256-120-84-10, ReLU, "
        "input 1x28x28",
    ),
    "d2l": (
        lambda: Tutorial(activation=torch.sigmoid, pool=F.avg_pool2d, padding=2),
        {"activation": "sigmoid", "pooling": "average", "input_size": (28, 28)},
        "conv 5x5 1->6, padding 2, average pool, conv 5x5 6->16, average pool, "
        "dense 400-120-84-10, sigmoid, input 1x28x28",
    ),
    "CIFAR": (
        lambda: Tutorial(channels=3),
        {},
        "conv 5x5 3->6, max pool, conv 5x5 6->16, max pool, dense 400-120-84-10, ReLU, "
        "input 3x32x32",
    ),
    "letters": (
        lambda: Tutorial(kernel=3, features=576, classes=26),
        {},
        "conv 3x3 1->6, max pool, conv 3x3 6->16, max pool, dense 576-120-84-26, ReLU, "
        "input 1x32x32",
    ),
    "Net with tanh": (
        lambda: Tutorial(kernel=3, features=576, activation=torch.tanh),
        {"activation": "tanh"},
        "conv 3x3 1->6, max pool, conv 3x3 6->16, max pool, dense 576-120-84-10, tanh, "
        "input 1x32x32",
    ),
    "wide": (
        lambda: Tutorial(widths=(20, 50, 500, 64), features=1250),
        {},
        "conv 5x5 1->20, max pool, conv 5x5 20->50, max pool, dense 1250-500-64-10, ReLU, "
        "input 1x32x32",
    ),
    "batch norm, no bias": (
        lambda: Tutorial(norm=True, bias=False),
        {},
        "conv 5x5 1->6, batch norm, max pool, conv 5x5 6->16, batch norm, max pool, "
        "dense 400-120-84-10, ReLU, input 1x32x32",
    ),
    "alike widths": (
        lambda: Tutorial(widths=(16, 16, 84, 84), norm=True),
        {},
        "conv 5x5 1->16, batch norm, max pool, conv 5x5 16->16, batch norm, max pool, "
        "dense 400-84-84-10, ReLU, input 1x32x32",
    ),
    "numbered": (
        numbered,
        {},
        "conv 5x5 1->6, max pool, conv 5x5 6->16, max pool, dense 400-120-84-10, ReLU, "
        "input 1x32x32",
    ),
    "features and classifier": (
        Split,
        {},
        "conv 5x5 3->20, padding 2, batch norm, max pool, conv 5x5 20->50, padding 2, batch norm, "
        "max pool, dense 3200-500-100, ReLU, input 3x32x32",
    ),
    "LeNet-5": (
        lenet_5,
        TANH,
        "conv 5x5 1->6, average pool, conv 5x5 6->16, average pool, conv 5x5 16->120, "
        "dense 120-84-10, tanh, input 1x32x32",
    ),
    "examples/mnist": (
        examples,
        {},
        "conv 3x3 1->32, conv 3x3 32->64, max pool, dense 9216-128-10, ReLU, input 1x28x28",
    ),
    "oblong": (
        lambda: Tutorial(features=16 * 5 * 4),
        {"input_size": (32, 28)},
        "conv 5x5 1->6, max pool, conv 5x5 6->16, max pool, dense 320-120-84-10, ReLU, "
        "input 1x32x28",
    ),
}


def save(weights, path):
    """Write by the suffix; safetensors sorts the names."""
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


def layer_names(module):
    return [n for n, m in module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(("make", "told", "said"), MEMBERS.values(), ids=MEMBERS)
def test_a_member_of_the_family_is_inferred_and_answers_alike(tmp_path, make, told, said, suffix):
    torch.manual_seed(0)
    module = make()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as training leaves it
            nn.init.uniform_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    module.eval()
    loaded = load_network(save(module.state_dict(), tmp_path / f"a{suffix}"), **told)
    assert f"inferred: {said}" in loaded.notes
    images = torch.randn(3, *loaded.input_shape)
    with torch.inference_mode():
        exact = "batch norm" not in said  # which is folded
        tolerance = 0 if exact else 1e-5
        torch.testing.assert_close(
            loaded.module(images), module(images), rtol=tolerance, atol=tolerance
        )
    assert layer_names(loaded.module) == layer_names(module)
    assert loaded.labels == tuple(map(str, range(loaded.module(images).shape[1])))
    assert not loaded.module.training


def test_net_s_own_shapes_are_net_whatever_their_names(tmp_path):
    torch.manual_seed(0)
    weights = numbered(3, 576).state_dict()
    loaded = load_network(save(weights, tmp_path / "a.pt"))
    assert type(loaded.module) is Net
    assert loaded.notes[0].endswith("input 1x32x32; named conv1, conv2, fc1, fc2, fc3")
    assert torch.equal(loaded.module.fc2.weight, weights["9.weight"])


def test_another_size_that_fits_is_said(tmp_path):
    loaded = load_network(save(Tutorial().state_dict(), tmp_path / "a.pt"))
    said = "the weights also fit images of 28x28 with padding 2 in the first convolution: --input"
    assert f"{said}-size 28" in loaded.notes


def test_names_that_pytorch_cannot_give_are_replaced_and_said(tmp_path):
    odd = ["forward", "a b", "\x1b[2J", "training", "ü.x"]
    layers = ["conv1", "conv2", "fc1", "fc2", "fc3"]
    names = dict(zip(layers, odd, strict=True))
    weights = {
        f"{names[layer]}.{part}": value
        for (layer, part), value in (
            (name.split("."), value) for name, value in Tutorial().state_dict().items()
        )
    }
    loaded = load_network(save(weights, tmp_path / "a.pt"))
    assert isinstance(loaded.module, LeNet)
    assert loaded.notes[0].endswith("; named conv1, conv2, fc1, fc2, fc3")
    assert {name.partition(".")[0] for name in loaded.module.state_dict()} == set(layers)


def layers(*shapes):
    return {f"l{i}.weight": torch.zeros(shape) for i, shape in enumerate(shapes)}


LINES = ((6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84))
UNCLEAR = {
    "7x7": (layers((6, 1, 7, 7), (10, 400)), "kernels of 3x3 and 5x5, found 7x7 in l0.weight"),
    "1x1": (layers((6, 1, 1, 1), (10, 400)), "found 1x1"),
    "3x5": (layers((6, 1, 3, 5), (10, 400)), "found 3x5"),
    "dense alone": (layers((10, 784)), "found no convolutions"),
    "convolutions alone": (layers((6, 1, 5, 5), (10, 6, 5, 5)), "found no dense layers"),
    "no chain": (layers((6, 1, 5, 5), (16, 8, 5, 5), (10, 400)), "the layers make no chain"),
    "grouped": (layers((6, 1, 5, 5), (6, 1, 5, 5), (10, 150)), "the layers make no chain"),
    "two channels": (layers((6, 2, 5, 5), (10, 1176)), "1 or 3 channels, found 2 in l0.weight"),
    "64x64": (
        layers((6, 1, 5, 5), (16, 6, 5, 5), (10, 16 * 169)),
        "name their size with --input-s",
    ),
    "no multiple": (
        layers((6, 1, 5, 5), (16, 6, 5, 5), (10, 401)),
        "401 features, which 16 channel",
    ),
    "3-D": (
        layers(*LINES) | {"x.weight": torch.zeros(3, 3, 3)},
        "no layer with x.weight (3, 3, 3)",
    ),
    "a scale": (layers(*LINES) | {"scale": torch.tensor(2.0)}, "no layer with scale ()"),
    "layer norm": (
        layers(*LINES) | {"n.weight": torch.ones(6), "n.bias": torch.ones(6)},
        "no layer with n.weight (6,), n.bias (6,)",
    ),
    "PReLU": (layers(*LINES) | {"act.weight": torch.ones(1)}, "no layer with act.weight (1,)"),
    "a bias too long": (layers(*LINES) | {"l0.bias": torch.ones(7)}, "no layer with l0.bias (7,)"),
    "norm of a dense layer": (
        layers(*LINES) | {f"n.{part}": torch.ones(120) for part in ("running_mean", "running_var")},
        "not clear what n follows",
    ),
    "empty": (
        layers((6, 1, 5, 5), (0, 6, 5, 5), (10, 400)),
        "no layer with l1.weight (0, 6, 5, 5)",
    ),
}


@pytest.mark.parametrize(("weights", "said"), UNCLEAR.values(), ids=UNCLEAR)
def test_what_the_weights_do_not_say_is_asked_for_in_one_line(tmp_path, weights, said):
    path = save(weights, tmp_path / "a.pt")
    with pytest.raises(ArtifactError) as caught:
        load_network(path)
    text = str(caught.value)
    assert said in text
    assert "--model FILE.py:ClassName" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("side", "advice"),
    [
        (11, "choose with --input-size, or name"),  # 32x32 pooled first, or 28x28 pooled last
        (16, "after l2; name"),  # 32x32 with padding, pooled after any one
    ],
)
def test_networks_that_fit_equally_well_are_named(tmp_path, side, advice):
    weights = layers((6, 1, 3, 3), (6, 6, 3, 3), (6, 6, 3, 3), (10, 6 * side**2))
    with pytest.raises(ArtifactError, match="fit more than one network: input 32x32") as caught:
        load_network(save(weights, tmp_path / "a.pt"))
    assert advice in str(caught.value)


def test_a_size_that_the_weights_do_not_fit_is_refused(tmp_path):
    path = save(Tutorial().state_dict(), tmp_path / "a.pt")
    with pytest.raises(ArtifactError, match="images of 40x40 do not become"):
        load_network(path, input_size=(40, 40))


@pytest.mark.parametrize("count", [8, 60])
def test_many_layers_take_no_time(tmp_path, count):
    """Orders are not tried by the million."""
    weights = layers((6, 1, 3, 3), (10, 7), *[(84, 84)] * count)
    with pytest.raises(ArtifactError, match="layers"):
        load_network(save(weights, tmp_path / "a.safetensors"))


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"activation": "gelu"}, "--activation: expected relu, tanh, sigmoid, found 'gelu'"),
        ({"pooling": "min"}, "--pooling: expected max, average, found 'min'"),
        ({"labels": ["a", "b"]}, "--labels: expected 10 different names"),
        ({"labels": list("aabcdefghi")}, "--labels: expected 10 different names"),
        ({"std": 0.0}, "--mean, --std"),
        ({"mean": float("nan")}, "--mean, --std"),
    ],
)
def test_a_wrong_option_is_refused(option, said):
    with pytest.raises(InputError) as caught:
        load_network(**option)
    assert said in str(caught.value)


def test_options_are_what_is_loaded():
    loaded = load_network(mean=0.5, std=0.25, labels=list("abcdefghij"))
    assert (loaded.preprocessing.mean, loaded.preprocessing.std) == (0.5, 0.25)
    assert loaded.labels == tuple("abcdefghij")
    assert loaded.notes == ()
