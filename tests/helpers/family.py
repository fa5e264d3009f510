"""LeNet's family: the networks that people bring, with random weights, and others at random."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch import nn


def lenet(
    image_shape=(1, 32, 32),
    classes=10,
    channels=(6, 16),
    kernel=3,
    features=(120, 84),
    activation=nn.ReLU,
    pool=nn.MaxPool2d,
    padding=0,
    norm=False,
    end=(),
):
    """Convolutions, each with activation and 2x2 pooling, then dense layers; seeded."""
    torch.manual_seed(1)
    before, layers = image_shape[0], []
    for count in channels:
        layers += [nn.Conv2d(before, count, kernel, padding=padding)]
        layers += [nn.BatchNorm2d(count)] if norm else []
        layers += [activation(), pool(2)]
        before = count
    layers.append(nn.Flatten())
    with torch.no_grad():
        length = nn.Sequential(*layers).eval()(torch.zeros(1, *image_shape)).shape[1]
    for count in features:
        layers += [nn.Linear(length, count), activation()]
        length = count
    module = nn.Sequential(*layers, nn.Linear(length, classes), *end)
    for layer in module:
        if isinstance(layer, nn.BatchNorm2d):  # statistics as if it had been trained
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return module.eval()


class ExamplesMnist(nn.Module):
    """As in pytorch/examples: two convolutions, one pooling, dropout, log_softmax, 28x28."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, 1), nn.Conv2d(32, 64, 3, 1)
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(9216, 128), nn.Linear(128, 10)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = torch.flatten(self.dropout1(F.max_pool2d(x, 2)), 1)
        x = self.fc2(self.dropout2(F.relu(self.fc1(x))))
        return F.log_softmax(x, dim=1)


class Tutorial5x5(nn.Module):
    """As in PyTorch's "Neural Networks" tutorial: 5x5 kernels, then 16 * 5 * 5 numbers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2, self.fc3 = nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(-1, 16 * 5 * 5)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


@dataclass(frozen=True)
class Member:
    """A network of the family.

    Attributes:
        make: makes it, in eval mode.
        image_shape: of its images.
        classes: that it knows.
        output: what it answers.
        found: whether `image_shape` is found out; where not, it must be given.
        data: whether its ONNX graph is one that needs no trust in other processes.
    """

    make: object
    image_shape: tuple = (1, 32, 32)
    classes: int = 10
    output: str = "logits"
    found: bool = True
    data: bool = True


def member(*, output="logits", found=True, data=True, **parts):
    """A member that `lenet` makes of these parts."""
    shape, classes = parts.get("image_shape", (1, 32, 32)), parts.get("classes", 10)
    return Member(lambda: lenet(**parts), shape, classes, output, found, data)


SMALL = (1, 28, 28)
MEMBERS = {
    "tutorial 3x3": member(),
    "tutorial 5x5": Member(lambda: Tutorial5x5().eval()),
    "20/50/500": member(image_shape=SMALL, channels=(20, 50), kernel=5, features=(500,)),
    "classic": member(kernel=5, activation=nn.Tanh, pool=nn.AvgPool2d),
    "d2l": Member(
        lambda: nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2, stride=2),
            nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2, stride=2), nn.Flatten(),
            nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10),
        ),
        SMALL,
    ),
    "examples/mnist": Member(lambda: ExamplesMnist().eval(), SMALL, output="log_probabilities"),
    "cifar": member(image_shape=(3, 32, 32), kernel=5),
    "26 classes": member(image_shape=SMALL, classes=26, kernel=5),
    "47 classes": member(image_shape=SMALL, classes=47, kernel=3),
    "1000 classes": member(classes=1000, features=(64,)),
    "2 classes": member(classes=2, kernel=5, channels=(4, 4), features=(12,)),
    "three convolutions": member(channels=(8, 16, 32), padding=1),
    "one channel each": member(channels=(1, 1), features=()),
    "batch norm": member(image_shape=SMALL, kernel=5, norm=True, data=False),
    "softmax": member(
        image_shape=SMALL, kernel=5, end=(nn.Softmax(dim=-1),), output="probabilities"
    ),
    "same": member(image_shape=SMALL, kernel=5, padding="same"),
    "29x45": member(image_shape=(1, 29, 45), kernel=5, found=False),
    "3x24x20": member(image_shape=(3, 24, 20), classes=7, found=False),
    "64x64": member(image_shape=(1, 64, 64), channels=(6, 16, 32), kernel=5, found=False),
}  # fmt: skip


def random_member(rng):
    """The parts of a member, for `lenet`, drawn by NumPy's generator."""

    def one_of(*values):
        return values[rng.integers(len(values))]

    kernel = one_of(3, 5)
    return {
        "image_shape": (one_of(1, 3), one_of(28, 31, 32), one_of(28, 32, 36)),
        "classes": int(one_of(2, 3, 10, 26, 100)),
        "channels": tuple(int(rng.integers(1, 21)) for _ in range(2)),
        "kernel": kernel,
        "features": tuple(int(rng.integers(1, 130)) for _ in range(rng.integers(0, 3))),
        "activation": one_of(nn.ReLU, nn.Tanh, nn.Sigmoid),
        "pool": one_of(nn.MaxPool2d, nn.AvgPool2d),
        "padding": one_of(0, kernel // 2),
        "end": one_of((), (), (nn.LogSoftmax(dim=1),), (nn.Softmax(dim=1),)),
    }
