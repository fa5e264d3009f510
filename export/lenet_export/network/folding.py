"""Batch norm in eval mode is one multiplication and one addition a channel: it is folded into the
weights of the layer beside it, in float64, and rounded to float32 once."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import InputError

Wide = NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """What a batch norm does to each channel.

    Attributes:
        scale: float64 ``(channels,)``, multiplied.
        shift: float64 ``(channels,)``, then added.
    """

    scale: Wide
    shift: Wide

    @staticmethod
    def of(mean: Any, variance: Any, weight: Any, bias: Any, epsilon: float) -> "Affine":
        """A batch norm's running statistics, and its weight and bias, either of them or None."""
        mean, variance = np.float64(mean), np.float64(variance)
        scale = (1.0 if weight is None else np.float64(weight)) / np.sqrt(variance + epsilon)
        return Affine(scale, (0.0 if bias is None else np.float64(bias)) - mean * scale)

    def then(self, following: "Affine") -> "Affine":
        """Both, one after the other."""
        scale = following.scale
        return Affine(self.scale * scale, self.shift * scale + following.shift)


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer while the network is read.

    Attributes:
        weight: float64 ``(outputs, inputs, size, size)`` or ``(outputs, inputs)``.
        bias: float64 ``(outputs,)``.
        padding: of a convolution.
        after: the activations and poolings behind it.
    """

    weight: Wide
    bias: Wide
    padding: int = 0
    after: tuple[str, ...] = ()

    def then(self, step: str) -> "Layer":
        """The layer with an activation or pooling behind it; max pooling goes last."""
        after = (*self.after, step)
        return replace(self, after=after[::-1] if after[0] == "max" else after)

    def before(self, affine: Affine) -> "Layer":
        """The layer with a batch norm directly behind it."""
        scale = affine.scale.reshape(-1, *[1] * (self.weight.ndim - 1))
        return replace(
            self, weight=self.weight * scale, bias=self.bias * affine.scale + affine.shift
        )

    def behind(self, affine: Affine) -> "Layer":
        """The layer with a batch norm directly before it.

        Raises:
            InputError: the layer pads what the batch norm makes.
        """
        if self.padding:
            raise InputError(
                "batch_norm: expected no padding of the convolution behind it, whose zeros it "
                f"does not shift, found padding {self.padding}; put it directly behind a layer"
            )
        repeats = self.weight.shape[1] // len(affine.scale)  # pixels of a channel, if flattened
        ones = [1] * (self.weight.ndim - 2)
        scale, shift = (
            np.repeat(values, repeats).reshape(1, -1, *ones)
            for values in (affine.scale, affine.shift)
        )
        added = (self.weight * shift).reshape(len(self.bias), -1).sum(axis=1)
        return replace(self, weight=self.weight * scale, bias=self.bias + added)

    def float32(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight and bias, rounded.

        Raises:
            InputError: a batch norm made one so large that float32 does not hold it.
        """
        largest = max(np.abs(self.weight).max(initial=0), np.abs(self.bias).max(initial=0))
        if largest > np.finfo(np.float32).max:
            raise InputError(
                f"batch_norm: expected weights that float32 holds, found {largest:.3g} once it is "
                "folded into them; its running variance is too small"
            )
        return self.weight.astype(np.float32), self.bias.astype(np.float32)
