"""Members of the LeNet family as people write them, and what `load_network` says of each."""

from collections import OrderedDict

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


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


def deep():
    """Layers of equal shapes, whose order only their numbers say."""
    return nn.Sequential(
        *numbered()[:7], nn.Linear(400, 84), nn.ReLU(), nn.Linear(84, 84), nn.ReLU(),
        nn.Linear(84, 84), nn.ReLU(), nn.Linear(84, 10),
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
    "deep": (
        deep,
        {},
        "conv 5x5 1->6, max pool, conv 5x5 6->16, max pool, dense 400-84-84-84-10, ReLU, "
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
