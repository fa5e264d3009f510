"""Attestation: in which type does a compiled engine compute each layer of the network?

TensorRT tells of a compiled engine, layer by layer, in one line each: its engine inspector does on
the GPU, and its builder's log without one. The line names the ONNX nodes that a layer came from,
and the type of every tensor that goes in, is a constant of it, or comes out. A graph's types are a
wish; this is what became of it.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from lenet_runtime.artifact import IMAGES, OUTPUTS

# In the engine inspector's words, of TensorRT 10, of 11 and of RTX; "N/A due to dynamic shapes" is
# none of them.
_TYPES = {
    "BFloat16": "bf16", "BF16": "bf16", "Half": "fp16", "FP16": "fp16",
    "Float": "fp32", "FP32": "fp32", "Int8": "int8", "INT8": "int8",
}  # fmt: skip
_TYPE = re.compile(rf"\b({'|'.join(_TYPES)})\b")
_HEAD = re.compile(r"\s*Name: (.*?), LayerType: ([^,]*)")
_TENSOR = re.compile(r"\{ Name: ([^{]*?), (?:Location: \w+, )?Dimensions: \[([-0-9,]*)\]([^}]*)\}")
_WEIGHTS = re.compile(r"\bWeights: \{ Type: (\w+), Count: (\d+)")
_NODE = re.compile(r"\[ONNX Layer: ([^\]\x1e]*)\]")
_SECTIONS = re.compile(r"\b(Inputs|Constants|Outputs): \[")


@dataclass(frozen=True)
class Tensor:
    """A tensor of a compiled layer.

    Attributes:
        name: TensorRT's.
        type: ``fp16``; empty where it is not told.
        sizes: of those dimensions that have more than one element or are dynamic.
    """

    name: str
    type: str
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer of a compiled engine.

    Attributes:
        kind: TensorRT's word for it, ``gemm``.
        nodes: of the ONNX graph that it computes, or a part of them.
        inputs: that other layers made, or the images.
        constants: that are in the engine.
        outputs: see `inputs`.
    """

    kind: str
    nodes: frozenset[str]
    inputs: tuple[Tensor, ...]
    constants: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def weights(self) -> Tensor | None:
        """The largest constant of two dimensions or more; biases and scales, whose types are
        their own, have one."""
        candidates = [tensor for tensor in self.constants if len(tensor.sizes) > 1]
        return max(candidates, key=lambda tensor: math.prod(tensor.sizes), default=None)

    @property
    def type(self) -> str:
        """The type it computes in, that of its inputs and weights; several are joined by ``+``,
        and it is empty where nothing is told.

        The images and the logits are float32 in every engine, whatever computes them.
        """
        tensors = [tensor for tensor in self.inputs if tensor.name != IMAGES]
        if self.weights:
            tensors.append(self.weights)
        told = {tensor.type for tensor in tensors} - {""}
        told = told or {t.type for t in self.outputs if t.name not in OUTPUTS} - {""}
        return "+".join(sorted(told))


def parse(text: str) -> tuple[Layer, ...]:
    """The layers that a text of TensorRT's tells of; none where it is something else."""
    return tuple(filter(None, map(_layer, text.split("\n"))))


def _layer(line: str) -> Layer | None:
    head = _HEAD.match(line)
    if head is None:
        return None
    first, *rest = _SECTIONS.split(line)
    del first
    tensors = {kind: _tensors(part) for kind, part in zip(rest[::2], rest[1::2], strict=True)}
    weights = tuple(
        Tensor("weights", _TYPES.get(kind, ""), (int(count), 1))
        for kind, count in _WEIGHTS.findall(line)
    )
    return Layer(
        head[2],
        frozenset(_NODE.findall(line)) | frozenset(head[1].split(" + ")),
        tensors.get("Inputs", ()),
        tensors.get("Constants", ()) + weights,
        tensors.get("Outputs", ()),
    )


def _tensors(text: str) -> tuple[Tensor, ...]:
    found = []
    for name, dimensions, rest in _TENSOR.findall(text):
        kind = _TYPE.search(rest)
        sizes = tuple(int(size) for size in dimensions.split(",") if size not in ("", "1"))
        found.append(Tensor(name, _TYPES[kind[0]] if kind else "", sizes))
    return tuple(found)


def kernel_of(layers: tuple[Layer, ...], node: str) -> tuple[str, ...]:
    """What computes a node: type and kind of its layer, ``int8``, ``gemm``; empty where none tells.

    Of several layers that compute parts of it, the one that has its weights counts.
    """
    mine = [layer for layer in layers if node in layer.nodes]
    if not mine:
        return ()
    chosen = max(mine, key=lambda layer: layer.weights is not None)
    return (chosen.type, chosen.kind) if chosen.type else ()


def mismatches(text: str, kernels: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Where an engine contradicts what its manifest says computes it, one line each.

    Args:
        text: the engine inspector's.
        kernels: see `lenet_runtime.artifact.Manifest.kernels`.
    """
    layers = parse(text)
    found = {node: kernel_of(layers, node) for node in kernels}
    return [
        f"{node}: expected {' '.join(kernels[node])!r}, found {' '.join(kernel)!r}"
        for node, kernel in found.items()
        if kernel and kernel[0] != kernels[node][0]
    ]
