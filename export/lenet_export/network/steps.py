"""What a step of a network's graph brings with it: its arguments and its weights."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lenet_export.network.folding import Affine
from lenet_export.network.graph import Step
from lenet_runtime.errors import InputError

Array = NDArray[np.float32]
POOLINGS = {"max_pool2d": "max", "avg_pool2d": "average"}
DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
# The other arguments of each operation, with the only values that the family has.
_DROPS: dict[str, tuple[object, ...]] = {"train": (False,)}  # F.dropout(x) drops in eval mode, too
_POOL: dict[str, tuple[object, ...]] = {
    "kernel_size": (2, 2),
    "stride": (2, 2),
    "padding": (0, 0),
    "ceil_mode": (False,),
}
_PLAIN: dict[str, dict[str, tuple[object, ...]]] = {
    "conv2d": {"stride": (1, 1), "dilation": (1, 1), "groups": (1,)},
    "max_pool2d": _POOL | {"dilation": (1, 1)},
    "avg_pool2d": _POOL,
    "batch_norm": {"training": (False,)},
    **dict.fromkeys(DROPOUTS, _DROPS),
}


def require_plain(step: Step) -> None:
    """Raise `InputError` for an argument that the family does not have."""
    for name, expected in _PLAIN.get(step.kind, {}).items():
        argument = step.arguments[name]
        values = tuple(np.ravel(argument).tolist())
        if (name, values) == ("stride", ()) and step.kind in POOLINGS:
            continue  # the kernel's size
        if values not in (expected, expected[:1]):
            raise InputError(f"{step.kind}: expected {name} {list(expected)}, found {argument}")
    if step.kind == "avg_pool2d" and step.arguments["divisor_override"] is not None:
        raise InputError(
            f"avg_pool2d: expected no divisor_override, found {step.arguments['divisor_override']}"
        )


def padding(step: Step, weight: NDArray[Any]) -> int:
    """The zeros on each side of a convolution's input.

    Raises:
        InputError: the filters or the padding are not the family's.
    """
    if weight.shape[2:] not in ((3, 3), (5, 5)):
        raise InputError(f"expected 3x3 or 5x5 kernels, found {weight.shape[2:]}")
    same, argument = weight.shape[2] // 2, step.arguments["padding"]
    words = {"valid": 0, "same": same}
    values = [words.get(value, value) for value in np.ravel(argument).tolist()]
    if len(set(values)) != 1 or values[0] not in words.values():
        raise InputError(
            f"conv2d: expected padding 0 or {same}, which keeps the size, found {argument}"
        )
    return int(values[0])


class Weights:
    """A program's parameters and buffers as arrays."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        signature = program.graph_signature
        names = signature.inputs_to_parameters | signature.inputs_to_buffers
        tensors = program.state_dict | program.constants
        self._tensors = {node: tensors[name] for node, name in names.items()}

    def of(self, step: Step) -> tuple[Array, Array]:
        """Weight and bias of a layer, zeros where it has no bias."""
        weight = self._array(step, "weight")
        if step.arguments["bias"] is None:
            return weight, np.zeros(len(weight), np.float32)
        bias = self._array(step, "bias")
        if bias.shape != weight.shape[:1]:  # F.linear repeats a bias of one number
            raise InputError(f"{step.kind}: expected a bias {weight.shape[:1]}, found {bias.shape}")
        return weight, bias

    def affine(self, step: Step) -> Affine:
        """What a batch norm multiplies by and adds."""
        roles = ("running_mean", "running_var", "weight", "bias")
        values = [None if step.arguments[r] is None else self._array(step, r) for r in roles]
        if values[0] is None or values[1] is None:
            raise InputError("batch_norm: expected running statistics, found none")
        mean, variance, weight, bias = values
        return Affine.of(mean, variance, weight, bias, step.arguments["eps"])

    def _array(self, step: Step, role: str) -> Array:
        node = step.arguments[role]
        if node.name not in self._tensors:
            raise InputError(
                f"{step.kind}: expected a parameter of the module as {role}, found {node}"
            )
        values: Array = self._tensors[node.name].detach().cpu().contiguous().numpy()
        if values.dtype != np.float32:
            raise InputError(f"expected float32 weights, found {values.dtype}")
        return values
