"""Reading the network: a torch module becomes a `Network`, its layers and weights as NumPy arrays.

The module may be written in any style; what it computes must be a member of the LeNet family: a
chain of convolutions, then of dense layers, with any number of channels and features.
"""

import re
from dataclasses import dataclass
from math import prod

import numpy as np
from torch import nn

from lenet_export.network import graph
from lenet_export.network.folding import Affine, Layer
from lenet_export.network.graph import Step
from lenet_export.network.steps import DROPOUTS, POOLINGS, Array, Weights, padding, require_plain
from lenet_runtime.errors import InputError

Shape = tuple[int, ...]
ImageShape = tuple[int, int, int]
NET_SHAPE = (1, 32, 32)  # of the images that `Net` takes
ACTIVATIONS = ("relu", "tanh", "sigmoid")
_OUTPUTS = {"log_softmax": "log_probabilities", "softmax": "probabilities"}
# They keep the order of an image's values, so that only a layer's input must have its shape.
_RESHAPES = ("flatten", "view", "reshape", "contiguous")
# Convolutions, linear layers, activations and poolings by their first letters.
_CHAIN = re.compile("(C(ap?|pa?)?){2,}(La?)*L")


@dataclass(frozen=True)
class Convolution:
    """3x3 or 5x5, stride 1.

    Attributes:
        weight: float32 ``(out channels, in channels, size, size)``.
        bias: float32 ``(out channels,)``.
        padding: zeros on every side: 0, or as many as keep height and width.
        after: what follows, in this order: at most one of `ACTIVATIONS`, and at most one 2x2
            pooling, ``max`` or ``average``. Max pooling commutes with them, and stands last.
    """

    weight: Array
    bias: Array
    padding: int = 0
    after: tuple[str, ...] = ("relu", "max")

    @property
    def size(self) -> int:
        """The height and width of the filters."""
        return int(self.weight.shape[2])

    @property
    def pooling(self) -> str:
        """``max``, ``average`` or nothing."""
        return next((step for step in self.after if step not in ACTIVATIONS), "")

    def shape_after(self, shape: Shape) -> Shape:
        """The shape of the output ``(channels, height, width)`` for an input's `shape`."""
        by = 2 if self.pooling else 1
        grown = 2 * self.padding - self.size + 1
        return (len(self.bias), (shape[1] + grown) // by, (shape[2] + grown) // by)


@dataclass(frozen=True)
class Dense:
    """A linear layer.

    Attributes:
        weight: float32 ``(out features, in features)``.
        bias: float32 ``(out features,)``.
        activation: what follows, one of `ACTIVATIONS` or nothing.
    """

    weight: Array
    bias: Array
    activation: str = ""


@dataclass(frozen=True)
class Network:
    """A member of the LeNet family.

    Attributes:
        convolutions: one at least.
        dense: one at least; the first takes the last convolution's output (channel, y, x).
        input_shape: of an image, ``(channels, height, width)``.
        output: what it answers: ``logits``, ``log_probabilities`` or ``probabilities``.
    """

    convolutions: tuple[Convolution, ...]
    dense: tuple[Dense, ...]
    input_shape: ImageShape = NET_SHAPE
    output: str = "logits"

    @property
    def conv1(self) -> Convolution:
        """The first convolution."""
        return self.convolutions[0]

    @property
    def conv2(self) -> Convolution:
        """The second convolution."""
        return self.convolutions[1]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.dense[-1].bias)

    @property
    def unlike_net(self) -> str:
        """The first thing in which this is no `Net` of other widths and classes; empty if it is."""
        found = {
            f"{len(self.convolutions)} convolution(s)": len(self.convolutions) != 2,
            f"images {self.input_shape}": self.input_shape != NET_SHAPE,
        }
        for number, layer in enumerate(self.convolutions, 1):
            following = " and ".join(layer.after) or "nothing"
            found |= {
                f"{layer.size}x{layer.size} filters in conv{number}": layer.size != 3,
                f"padding {layer.padding} of conv{number}": layer.padding != 0,
                f"{following} after conv{number}": layer.after != ("relu", "max"),
            }
        for number, dense in enumerate(self.dense[:-1], 1):
            found[f"{dense.activation or 'nothing'} after fc{number}"] = dense.activation != "relu"
        return next((name for name, other in found.items() if other), "")


def require_net_like(network: Network, reader: str, *, logits: bool = False) -> Network:
    """The network, if it is `Net` with any widths and number of classes.

    Args:
        network: a member of the family.
        reader: what takes no others; the message begins with it.
        logits: whether it must also answer logits.

    Raises:
        InputError: it is another member; says in what.
    """
    found = network.unlike_net
    if not found and logits and network.output != "logits":
        found = f"{network.output} as output"
    if found:
        raise InputError(
            f"{reader} takes two 3x3 convolutions without padding, each with relu and 2x2 max "
            "pooling, on images (1, 32, 32), then linear layers with relu between them"
            f"{', and logits as output' * logits}; found {found}: export another format, onnx or "
            "native in fp32"
        )
    return network


def read(module: nn.Module, input_shape: ImageShape, reader: str = "module") -> Network:
    """The layers of a module in eval mode; batch norm is folded into them.

    Args:
        module: written in any style.
        input_shape: of an image, ``(channels, height, width)``.
        reader: the format that needs the layers; the error message begins with it.

    Raises:
        InputError: the module is no member of the family.
    """
    try:
        return _read(module, input_shape)
    except InputError as error:
        raise InputError(f"{reader}: {error}") from error


def _read(  # noqa: PLR0912  one branch for each kind of layer
    module: nn.Module, input_shape: ImageShape
) -> Network:
    program = graph.export(module, input_shape)
    kinds = [graph.kind(node) for node in graph.operations(program)]
    _require_order(kinds)
    weights = Weights(program)
    shape: Shape = input_shape
    layers: list[Layer] = []
    waiting: Affine | None = None  # a batch norm that goes into the next layer
    output = "logits"
    for step in graph.chain(program):
        require_plain(step)
        if step.kind in ("conv2d", "linear"):
            dense = step.kind == "linear"
            _require_shape(step, (prod(shape),) if dense else shape)
            weight, bias = weights.of(step)
            layer = Layer(
                weight.astype(np.float64),
                bias.astype(np.float64),
                0 if dense else padding(step, weight),
            )
            if waiting:
                layer = layer.behind(waiting)
                waiting = None
            layers.append(layer)
            grown = 2 * layer.padding - weight.shape[-1] + 1
            shape = (len(bias), *([] if dense else [side + grown for side in shape[1:]]))
        elif step.kind == "batch_norm":
            affine = weights.affine(step)
            if layers and not layers[-1].after:
                layers[-1] = layers[-1].before(affine)
            else:
                waiting = waiting.then(affine) if waiting else affine
        elif step.kind in (*ACTIVATIONS, *POOLINGS):
            if waiting:
                raise InputError(
                    f"batch_norm: expected it directly behind a convolution or linear layer, or "
                    f"before the next one, found {step.kind} behind it"
                )
            if step.kind in POOLINGS:
                _require_shape(step, shape)
                shape = (shape[0], shape[1] // 2, shape[2] // 2)
            layers[-1] = layers[-1].then(POOLINGS.get(step.kind, step.kind))
        elif step.kind in _OUTPUTS:
            if step.arguments["dim"] not in (1, -1):
                raise InputError(f"{step.kind}: expected dim 1, found {step.arguments['dim']}")
            output = _OUTPUTS[step.kind]
    if waiting:
        raise InputError("batch_norm: expected a layer behind it, found the end")
    if min(shape) < 1:
        raise InputError(f"expected images that every layer leaves pixels of, found {input_shape}")
    convolutions = tuple(
        Convolution(*layer.float32(), layer.padding, layer.after)
        for layer in layers if layer.weight.ndim == 4
    )  # fmt: skip
    dense_layers = tuple(
        Dense(*layer.float32(), "".join(layer.after))
        for layer in layers if layer.weight.ndim == 2
    )  # fmt: skip
    return Network(convolutions, dense_layers, input_shape, output)


def _require_order(kinds: list[str]) -> None:
    """Refuse what is no chain of convolutions, then of linear layers."""
    order = [kind for kind in kinds if kind not in (*_RESHAPES, *DROPOUTS, "batch_norm")]
    if order and order[-1] in _OUTPUTS:
        order.pop()
    words = {"conv2d": "C", "linear": "L", **dict.fromkeys(ACTIVATIONS, "a")}
    text = "".join(words.get(kind, "p" if kind in POOLINGS else "?") for kind in order)
    if not _CHAIN.fullmatch(text):
        raise InputError(
            "expected a module of two or more conv2d, each with at most one of relu, tanh and "
            "sigmoid and one max_pool2d or avg_pool2d behind it, then linear layers with at most "
            "one activation between them, and log_softmax or softmax at most behind the last; "
            f"found {', '.join(kinds)}"
        )


def _require_shape(step: Step, shape: Shape) -> None:
    if step.shape[1:] != tuple(map(str, shape)):
        raise InputError(
            f"{step.kind}: expected activations ({', '.join(map(str, ('N', *shape)))}), "
            f"found ({', '.join(step.shape)})"
        )
