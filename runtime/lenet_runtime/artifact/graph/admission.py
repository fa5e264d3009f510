"""Which ONNX graphs are data: those of LeNet's family, followed before an engine sees them.

An engine runs whatever graph it is given: loops without end, gigabytes from a shape of three
numbers, a division that kills the process. So an artifact that nobody vouches for is admitted only
if its graph is a chain of the family's layers from the images to the logits, each with attributes
that an export gives it, the size of every tensor known and bounded, and the weights those that the
manifest names. They are hashed last, because that costs most.
"""

import hashlib
import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from lenet_runtime.artifact import GOLDEN_NAME, Artifact, Manifest, TensorSpec
from lenet_runtime.artifact.graph import messages
from lenet_runtime.artifact.graph.layers import OPERATORS, cut, follow, numbers
from lenet_runtime.formats import FORMATS

(MODEL,) = FORMATS["onnx"].files
# What an engine may have to do at load. Net's file has 0.3 MB, it takes and makes at most 6,424
# numbers of an image at once, and multiplies 0.4 million times an image.
_MAX_BYTES = 2**24  # of the file
_MAX_NUMBERS = 2**24  # of the self-test, that a node takes and makes: 64 MiB
_MAX_WORK = 2**32  # multiplications of the self-test: some 0.5 s
# Those in which everything that is admitted means the same.
_IR_VERSIONS, _OPSETS = range(8, 14), range(18, 27)
_METADATA = {"labels", "normalization_mean", "normalization_std", "padding", "weights_sha256"}


def fingerprint(tensors: Iterable[tuple[str, str, tuple[int, ...], Any]]) -> str:
    """SHA-256 of weights: name, dtype, shape and little-endian bytes of each, sorted by name."""
    digest = hashlib.sha256()
    for name, dtype, shape, data in sorted(tensors, key=lambda tensor: tensor[0]):
        digest.update(f"{name} {dtype} {shape}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def check(artifact: Artifact) -> None:
    """Raise ValueError, saying why, unless the artifact's graph is data.

    Raises:
        Malformed: (a ValueError) It is not protobuf, of whatever graph.
    """
    manifest, data = artifact.manifest, artifact.read(MODEL)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"expected at most {_MAX_BYTES} bytes, found {len(data)}")
    model = messages.read(data)
    _check_versions(model)
    graph = model["graph"]
    _check_value(graph["input"], manifest.inputs[0])
    _check_value(graph["output"], manifest.outputs[0])
    weights, shapes = initializers(graph)
    _check_chain(graph, manifest, weights, shapes)
    found = fingerprint((name, "torch.float32", *weights[name]) for name in weights)
    if found != manifest.weights_sha256:
        raise ValueError(
            f"its weights have the SHA-256 {found}, and the network's, by the manifest, have "
            f"{cut(manifest.weights_sha256)}: they were changed, or are not all that the module "
            "had, as when the exporter folds batch norms, joins equal weights, or drops unused ones"
        )


def _check_versions(model: Mapping[str, Any]) -> None:
    opset, ir_version = model["opset_import"], model["ir_version"]
    if opset.get("domain", "") or opset["version"] not in _OPSETS:
        raise ValueError(
            f"expected ONNX's own opset {_OPSETS[0]} to {_OPSETS[-1]}, found {cut(opset)}"
        )
    if ir_version not in _IR_VERSIONS:
        raise ValueError(
            f"expected IR version {_IR_VERSIONS[0]} to {_IR_VERSIONS[-1]}, found {ir_version}"
        )
    keys = [entry["key"] for entry in model.get("metadata_props", ())]
    if not _METADATA.issuperset(keys) or len(set(keys)) != len(keys):
        raise ValueError(f"expected metadata {sorted(_METADATA)}, found {cut(keys)}")


def _check_value(value: Mapping[str, Any], spec: TensorSpec) -> None:
    """Refuse an input or output that is not what the manifest says."""
    kind = value["type"]["tensor_type"]
    dims = kind["shape"].get("dim", ())
    sizes = tuple(None if dim.get("dim_param") else dim.get("dim_value") for dim in dims)
    one_each = all(len(dim) == 1 for dim in dims)  # a symbol or a size
    same = (value["name"], sizes) == (spec.name, spec.shape) and one_each
    if not same or kind["elem_type"] != messages.FLOAT:
        raise ValueError(f"expected {spec} as the manifest says, found {cut(value)}")


def initializers(
    graph: Mapping[str, Any],
) -> tuple[dict[str, tuple[tuple[int, ...], memoryview]], dict[str, list[int]]]:
    """Shape and bytes of the float32 weights, and the targets of Reshape, by their names."""
    weights: dict[str, tuple[tuple[int, ...], memoryview]] = {}
    targets: dict[str, list[int]] = {}
    for tensor in graph.get("initializer", ()):
        name, kind = tensor["name"], tensor["data_type"]
        dims, data = tuple(tensor.get("dims", ())), tensor["raw_data"]
        if name in weights or name in targets:
            raise ValueError(f"initializer {cut(name)}: there are two")
        if kind == messages.INT64 and dims == (2,) and len(data) == 16:
            targets[name] = list(struct.unpack("<2q", data))
        elif kind == messages.FLOAT and dims and min(dims) > 0 and _bytes(dims) == len(data):
            weights[name] = dims, data
        else:
            raise ValueError(
                f"initializer {cut(name)}: expected float32 of some shape, or two int64, found "
                f"data type {kind}, shape {cut(dims)} and {len(data)} bytes"
            )
    return weights, targets


def _bytes(dims: tuple[int, ...]) -> int:
    return 4 * math.prod(dims)


def _check_chain(
    graph: Mapping[str, Any],
    manifest: Manifest,
    weights: Mapping[str, tuple[tuple[int, ...], memoryview]],
    targets: Mapping[str, list[int]],
) -> None:
    """Follow the images through the nodes, each of which takes what the one before it made."""
    (images,), (logits,) = manifest.inputs, manifest.outputs
    sizes, left = {name: dims for name, (dims, _) in weights.items()}, dict(targets)
    names = {"", images.name, *sizes, *left}
    if len(names) != 2 + len(sizes) + len(left):
        raise ValueError(f"expected names of their own for the weights, found {cut(list(sizes))}")
    value, shape, work, rows = images.name, images.shape, 0, _rows(manifest)
    for node in graph.get("node", ()):
        kind, inputs, output = node["op_type"], node.get("input", []), node["output"]
        where = f"the node that makes {cut(output)}"
        if kind not in OPERATORS:
            raise ValueError(f"{where}: expected one of {', '.join(OPERATORS)}, found {cut(kind)}")
        if output in names:
            raise ValueError(f"{where}: another tensor has that name")
        if inputs[:1] != [value]:
            raise ValueError(f"{where}: expected it to take {cut(value)}, found {cut(inputs)}")
        names.add(output)
        before = numbers(shape)
        try:
            taken = _take(left if kind == "Reshape" else sizes, inputs[1:])
            shape, once = follow(node, shape, taken)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        value, work = output, work + rows * once
        if rows * (before + numbers(shape)) > _MAX_NUMBERS or work > _MAX_WORK:
            raise ValueError(f"{where}: the self-test, of up to {rows} images, would take too much")
    if (value, shape) != (logits.name, logits.shape):
        raise ValueError(f"expected a chain to {logits}, found {cut((value, shape))} at its end")
    if sizes or left:
        raise ValueError(f"initializers that no node takes: {cut([*sizes, *left])}")


def _take(pool: dict[str, Any], names: list[str]) -> list[Any]:
    """What the pool has under these names, and has no longer."""
    try:
        return [pool.pop(name) for name in names]
    except KeyError as error:
        raise ValueError(f"expected weights of its own, found {cut(names)}") from error


def _rows(manifest: Manifest) -> int:
    """The most images that the self-test's file has room for."""
    golden = manifest.files.get(GOLDEN_NAME)
    room = golden.size // (4 * numbers(manifest.inputs[0].shape)) if golden else 0
    return max(1, room, manifest.batch_size or 0)
