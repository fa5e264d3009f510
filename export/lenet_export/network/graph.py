"""The graph of a module as a chain of operations on the activations, or the reason why it is none.

`torch.export` records what a module computes, however it is written. A name alone proves nothing:
a layer may be skipped, used twice or fed with something else, so every operation must take what
the one before it made.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lenet_export.quiet import quiet
from lenet_runtime.errors import InputError, first_line


@dataclass(frozen=True)
class Step:
    """One operation on the activations.

    Attributes:
        kind: ``conv2d`` of ``aten::conv2d``, and likewise of its form in place, ``aten::conv2d_``.
        arguments: the operation's arguments by name, defaults filled in.
        shape: the shape of the activations that it takes, as text, the batch first.
    """

    kind: str
    arguments: dict[str, Any]
    shape: tuple[str, ...]


def export(module: nn.Module, input_shape: tuple[int, int, int]) -> torch.export.ExportedProgram:
    """The module's graph, for any number of images ``(C, H, W)``.

    Raises:
        InputError: torch.export cannot record it.
    """
    images = torch.zeros(2, *input_shape)  # torch.export takes a batch of one for a constant
    batch = torch.export.Dim("batch")
    try:
        with quiet():
            return torch.export.export(module, (images,), dynamic_shapes=({0: batch},))
    except Exception as error:  # somebody else's code may raise anything
        raise InputError(
            f"torch.export cannot record the module for any number of images ({first_line(error)})"
        ) from error


def chain(program: torch.export.ExportedProgram) -> Iterator[Step]:
    """The operations from the images to the logits, which must be the last one's result.

    Raises:
        InputError: an operation takes something else than the result of the one before it.
    """
    (images,) = program.graph_signature.user_inputs
    value = next(node for node in program.graph.nodes if node.name == images)
    for node in operations(program):
        step = Step(kind(node), _arguments(node), _shape(value))
        source = next(iter(step.arguments.values()), None)
        if source is not value:
            raise InputError(
                f"expected a chain of layers, found that {node} takes {source}, and not "
                f"{value}, which comes before it"
            )
        yield step
        value = node
    (results,) = next(node for node in program.graph.nodes if node.op == "output").args
    if tuple(results) != (value,) or len(_shape(value)) != 2:
        raise InputError(
            f"expected one output, the logits (N, K), found {list(results)} at the end "
            f"of a chain that makes {value} ({', '.join(_shape(value))})"
        )


def operations(program: torch.export.ExportedProgram) -> list[Any]:
    """The graph's nodes that compute; not the size of the batch, for which a reshape may ask."""
    return [
        node
        for node in program.graph.nodes
        if node.op == "call_function" and not isinstance(node.meta.get("val"), int | torch.SymInt)
    ]


def kind(node: Any) -> str:
    """The operation of a node, see `Step`; one that is not PyTorch's own keeps its full name."""
    schema = getattr(node.target, "_schema", None)
    return str(schema.name if schema else node.target).removeprefix("aten::").rstrip("_")


def _arguments(node: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        argument.name: argument.default_value for argument in node.target._schema.arguments
    }
    positional = dict(zip(defaults, node.args, strict=False))
    return defaults | positional | dict(node.kwargs)


def _shape(node: Any) -> tuple[str, ...]:
    return tuple(map(str, node.meta["val"].shape))
