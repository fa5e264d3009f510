"""The LeNet family: convolutions with pooling, then dense layers, as one module."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it, in all its tutorials
from torch import nn

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
POOLINGS: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
    "max": F.max_pool2d,
    "average": F.avg_pool2d,
}
NORM_EPS = 1e-5  # of nn.BatchNorm2d, unless it is told another; no state dict says it
_WORDS = {"relu": "ReLU", "tanh": "tanh", "sigmoid": "sigmoid"}


@dataclass(frozen=True)
class Convolution:
    """A convolution of stride 1; the activation follows, and 2x2 pooling where `pooled`.

    Attributes:
        name: Its name in the module.
        inputs: Channels that it takes.
        outputs: Channels that it makes.
        kernel: Height and width of its kernels, 3 or 5.
        bias: Whether it has a bias.
        norm: Name of the batch normalisation that is folded into it; empty where there was none.
        padding: Rows and columns of zeros on every side.
        pooled: Whether 2x2 pooling follows.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int
    bias: bool
    norm: str = ""
    padding: int = 0
    pooled: bool = True


@dataclass(frozen=True)
class Dense:
    """A linear layer; the activation follows every one but the last.

    Attributes:
        name: Its name in the module.
        inputs: Features that it takes.
        outputs: Features that it makes.
        bias: Whether it has a bias.
    """

    name: str
    inputs: int
    outputs: int
    bias: bool


@dataclass(frozen=True)
class Architecture:
    """A member of the family.

    Attributes:
        convolutions: In their order.
        dense: In their order; the last one makes the logits.
        height: Rows of an input image.
        width: Columns of an input image.
        activation: A key of `ACTIVATIONS`.
        pooling: A key of `POOLINGS`.
    """

    convolutions: tuple[Convolution, ...]
    dense: tuple[Dense, ...]
    height: int
    width: int
    activation: str = "relu"
    pooling: str = "max"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.convolutions[0].inputs, self.height, self.width

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.dense[-1].outputs

    @property
    def has_norms(self) -> bool:
        """Whether batch normalisation is folded into a convolution."""
        return any(each.norm for each in self.convolutions)

    def __str__(self) -> str:
        """One line, such as "conv 5x5 1->6, max pool, dense 400-120-10, ReLU, input 1x32x32"."""
        words = []
        for each in self.convolutions:
            words.append(f"conv {each.kernel}x{each.kernel} {each.inputs}->{each.outputs}")
            words += [f"padding {each.padding}"] * bool(each.padding)
            words += ["batch norm"] * bool(each.norm)
            words += [f"{self.pooling} pool"] * each.pooled
        sizes = [self.dense[0].inputs, *(each.outputs for each in self.dense)]
        words.append("dense " + "-".join(map(str, sizes)))
        words.append(_WORDS[self.activation])
        return ", ".join([*words, "input " + "x".join(map(str, self.input_shape))])


# The seed's network, `lenet_deploy.Net`.
SEED = Architecture(
    (Convolution("conv1", 1, 6, 3, True), Convolution("conv2", 6, 16, 3, True)),
    (Dense("fc1", 576, 120, True), Dense("fc2", 120, 84, True), Dense("fc3", 84, 10, True)),
    32,
    32,
)


def named_as_usual(architecture: Architecture) -> tuple[Architecture, dict[str, str]]:
    """The same network with layers conv1, fc1 and so on; and these names by the old ones."""
    names: dict[str, str] = {}
    for i, each in enumerate(architecture.convolutions, 1):
        names[each.name] = f"conv{i}"
    for i, layer in enumerate(architecture.dense, 1):
        names[layer.name] = f"fc{i}"
    convolutions = tuple(replace(each, name=names[each.name]) for each in architecture.convolutions)
    dense = tuple(replace(layer, name=names[layer.name]) for layer in architecture.dense)
    return replace(architecture, convolutions=convolutions, dense=dense), names


def fold(
    architecture: Architecture, weights: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Weights in which each batch normalisation is part of the convolution before it.

    In eval mode it multiplies and shifts each channel, by its running statistics; so do the weights
    that are made here, in float64.
    """
    folded = dict(weights)
    for each in architecture.convolutions:
        if not each.norm:
            continue
        parts = ("weight", "bias", "running_mean", "running_var")
        named = [folded.pop(f"{each.norm}.{part}", None) for part in parts]
        scale, shift, mean, variance = (None if t is None else t.double() for t in named)
        assert mean is not None
        assert variance is not None
        factor = (1.0 if scale is None else scale) / (variance + NORM_EPS).sqrt()
        kernels, bias = folded[f"{each.name}.weight"].double(), folded.get(f"{each.name}.bias")
        moved = (0.0 if bias is None else bias.double()) - mean
        folded[f"{each.name}.weight"] = (kernels * factor.view(-1, 1, 1, 1)).float()
        folded[f"{each.name}.bias"] = (moved * factor + (0.0 if shift is None else shift)).float()
    return folded


class LeNet(nn.Module):
    """A member of the family, whose layers have the names that the architecture gives them.

    float32 images ``(N, C, H, W)`` become float32 logits ``(N, K)``; N may be 0.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build the layers, with random weights; batch normalisation is part of its convolution."""
        super().__init__()
        self.architecture = architecture
        for each in architecture.convolutions:
            bias = each.bias or bool(each.norm)
            convolution = nn.Conv2d(
                each.inputs, each.outputs, each.kernel, padding=each.padding, bias=bias
            )
            self._add(each.name, convolution)
        for layer in architecture.dense:
            self._add(layer.name, nn.Linear(layer.inputs, layer.outputs, bias=layer.bias))

    def _add(self, name: str, layer: nn.Module) -> None:
        """Put a layer where its name, such as ``features.0``, says; KeyError where it cannot."""
        if not all(re.fullmatch("[A-Za-z0-9_]{1,100}", part) for part in name.split(".")):
            raise KeyError(name)
        *folders, last = name.split(".")
        module: nn.Module = self
        for folder in folders:
            if folder not in module._modules:
                module.add_module(folder, nn.Module())
            module = module.get_submodule(folder)
        module.add_module(last, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits ``(N, K)`` of images ``(N, C, H, W)``."""
        activation = ACTIVATIONS[self.architecture.activation]
        pool = POOLINGS[self.architecture.pooling]
        for each in self.architecture.convolutions:
            x = activation(self.get_submodule(each.name)(x))
            if each.pooled:
                x = pool(x, 2)
        x = torch.flatten(x, 1)
        *hidden, last = self.architecture.dense
        for layer in hidden:
            x = activation(self.get_submodule(layer.name)(x))
        logits: torch.Tensor = self.get_submodule(last.name)(x)
        return logits
