"""ONNX graphs as an attacker writes them, byte by byte and field by field, with hashes that fit."""

import contextlib
import dataclasses

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor as Kind
from samples import digits, noise

import lenet_runtime
from lenet_runtime.artifact import Artifact, FileEntry
from lenet_runtime.artifact.files import sha256
from lenet_runtime.artifact.graph import admission, messages
from lenet_runtime.parity import TOLERANCES, compare
from tests.fuzz.artifacts import mangled

FAMILY = (*admission.OPERATORS, "Identity", "Add", "Mul", "Cast", "Dropout", "Constant", "MatMul")
FOREIGN = tuple(sorted({schema.name for schema in onnx.defs.get_all_schemas()}))
INTEGERS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 18, 22, 84, 120, 576, -1, -2, 2**31, 2**32 + 1, 2**62)
TEXTS = (
    "", "images", "logits", "conv1.weight", "fc3.bias", "relu", "view", "batch", "N", "NOTSET",
    "SAME_UPPER", "axis", "pads", "group", "alpha", "ai.onnx", "com.microsoft", "é",
)  # fmt: skip
FLOATS = (1.0, float(np.nextafter(np.float32(1), np.float32(2))), 0.0, -1.0, 0.5, np.inf, np.nan)


@contextlib.contextmanager
def graphs(artifacts, scratch):
    """A model that was changed in a few places; half of them with the weights' hash made to fit."""
    folder = artifacts / "onnx"
    base, images = Artifact.open(folder), np.concatenate([digits(20), noise(16), 9 * noise(4)])
    with lenet_runtime.load(base, "ort-cpu", threads=1) as session:
        expected = session.run(images)  # of images that no self-test has
    right = base.read(admission.MODEL)
    structure = outside_of_weights(right)

    def case(draw):
        change = draw.choice([on_the_wire, in_fields, in_fields, in_weights, in_layers])
        data = change(draw, right, structure)
        with contextlib.suppress(ValueError):
            require_same(data)
        fits = draw.random() < 0.5
        artifact = with_model(base, data, fits=fits)
        with lenet_runtime.load(artifact, "ort-cpu", threads=1) as session:
            found = compare(session.run(images), expected, TOLERANCES["fp32"])
        if artifact.manifest.weights_sha256 != base.manifest.weights_sha256:
            return "other weights, by the manifest as well"
        assert found.ok, f"passes the self-test, and answers wrongly: {found.reason}"
        return "unchanged" if data == right else "right"

    yield case


def require_same(data):
    """Hold what our reader reads against what protobuf's own does; ValueError where it refuses."""
    values = messages.read(data)
    assert same(values, onnx.ModelProto.FromString(data)), "protobuf reads something else"


def same(values, proto):
    """Whether what our reader found is what protobuf's own finds, no less and no more."""
    fields = {field.name: value for field, value in proto.ListFields()}
    return values.keys() == fields.keys() and all(
        alike(value, fields[name]) for name, value in values.items()
    )


def alike(ours, theirs):
    if hasattr(theirs, "extend"):  # repeated; ours is a list only where it may be
        ours = ours if isinstance(ours, list) else [ours]
        return len(ours) == len(theirs) and all(map(alike, ours, theirs))
    if isinstance(ours, dict):
        return same(ours, theirs)
    if isinstance(theirs, bytes):
        return (ours.encode() if isinstance(ours, str) else bytes(ours)) == theirs
    return ours == theirs or ours != ours


def with_model(base, data, *, fits):
    """The artifact with this model; `fits`: also the weights' hash in its manifest, if it can."""
    entry, weights_sha256 = FileEntry(sha256(data), len(data)), base.manifest.weights_sha256
    if fits:
        with contextlib.suppress(ValueError, KeyError):
            weights, _ = admission.initializers(messages.read(data)["graph"])
            weights_sha256 = admission.fingerprint(
                (name, "torch.float32", *weights[name]) for name in weights
            )
    manifest = dataclasses.replace(
        base.manifest, weights_sha256=weights_sha256,
        files={**base.manifest.files, admission.MODEL: entry},
    )  # fmt: skip
    contents = {**base.contents, admission.MODEL: data}
    return dataclasses.replace(base, manifest=manifest, digest=sha256(data), contents=contents)


def outside_of_weights(data):
    """Pieces of a model, structure and weights in turn."""
    pieces, at = [], 0
    for tensor in onnx.ModelProto.FromString(data).graph.initializer:
        begin = data.index(tensor.raw_data, at)
        pieces += [data[at:begin], tensor.raw_data]
        at = begin + len(tensor.raw_data)
    return [*pieces, data[at:]]


# ---- changes


def on_the_wire(draw, right, structure):
    """Other bytes between the weights."""
    pieces = list(structure)
    at = 2 * draw.randrange((len(pieces) + 1) // 2)
    pieces[at], steps = mangled(draw, pieces[at])
    draw.note(f"piece {at}: {steps}")
    return b"".join(pieces)


def in_weights(draw, right, structure):
    """Other bits in the weights, most of them the least."""
    pieces = list(structure)
    at = 1 + 2 * draw.randrange(len(pieces) // 2)
    values = bytearray(pieces[at])
    for _ in range(draw.few()):
        place = draw.randrange(len(values)) & (~3 if draw.random() < 0.7 else ~0)
        values[place] ^= 1 << draw.randrange(8)
        draw.note(f"weights {at // 2}, byte {place}")
    pieces[at] = bytes(values)
    return b"".join(pieces)


def in_layers(draw, right, structure):
    """Layers that are exchanged, doubled, dropped, added, and made of other weights."""
    made = onnx.ModelProto.FromString(right)
    nodes, weights = made.graph.node, made.graph.initializer
    for _ in range(draw.few()):
        at, what = draw.randrange(len(nodes) or 1), draw.randrange(7)
        draw.note(f"layer {at}, change {what}")
        if not nodes:
            break
        if what == 0:
            nodes[at].op_type = draw.choice(FAMILY if draw.random() < 0.7 else FOREIGN)
        elif what == 1:
            added = onnx.helper.make_node(draw.choice(FAMILY), [nodes[at].input[0]], [f"x{at}"])
            nodes[at].input[0] = f"x{at}"
            nodes.insert(at, added)
        elif what == 2 and at + 1 < len(nodes):  # out of the chain
            if nodes[at + 1].input and nodes[at].input:
                nodes[at + 1].input[0] = nodes[at].input[0]
            del nodes[at]
        elif what == 3:
            one, other = draw.sample(range(len(weights)), 2)
            weights[one].name, weights[other].name = weights[other].name, weights[one].name
        elif what == 4:
            one, other = draw.sample(range(len(weights)), 2)
            weights[one].dims[:], weights[other].dims[:] = (
                list(weights[other].dims), list(weights[one].dims),
            )  # fmt: skip
        elif what == 5:
            weights[draw.randrange(len(weights))].dims.reverse()
        elif nodes[at].attribute:
            change_attribute(draw, draw.choice(nodes[at].attribute))
    return made.SerializeToString()


def change_attribute(draw, attribute):
    """Another value of the attribute's type, most often near the one it has."""
    if attribute.ints:
        at = draw.randrange(len(attribute.ints))
        attribute.ints[at] = draw.choice([attribute.ints[at] + 1, *INTEGERS])
    elif attribute.HasField("i"):
        attribute.i = draw.choice([attribute.i ^ 1, *INTEGERS])
    elif attribute.HasField("f"):
        attribute.f = draw.choice(FLOATS)


def in_fields(draw, right, structure):
    """Other values in fields of ``onnx.proto``, whether an export writes them or not."""
    made = onnx.ModelProto.FromString(right)
    for _ in range(draw.few()):
        message = draw.choice(list(below(made)))
        field = draw.choice(message.DESCRIPTOR.fields)
        draw.note(f"{message.DESCRIPTOR.name}.{field.name}")
        with contextlib.suppress(ValueError, OverflowError):  # a number that protobuf refuses
            change_field(draw, message, field, made)
    return made.SerializeToString()


def below(message):
    """The message and all in it."""
    yield message
    for field, value in message.ListFields():
        if field.type == Kind.TYPE_MESSAGE:
            for inner in value if hasattr(value, "extend") else [value]:
                yield from below(inner)


def change_field(draw, message, field, model):
    """Clear, shorten, double or fill a field."""
    value, repeated = getattr(message, field.name), hasattr(getattr(message, field.name), "extend")
    what = draw.randrange(4)
    if what == 0:
        message.ClearField(field.name)
    elif repeated and value and what == 1:
        del value[draw.randrange(len(value))]
    elif repeated and value and what == 2:
        value.append(draw.choice(value))
    elif field.type == Kind.TYPE_MESSAGE:
        kind = field.message_type.name
        others = [other for other in below(model) if other.DESCRIPTOR.name == kind]
        target = value.add() if repeated else value
        target.SetInParent()
        if others:
            target.CopyFrom(draw.choice(others).__deepcopy__({}))
    else:
        new = scalar(draw, field)
        value.append(new) if repeated else setattr(message, field.name, new)


def scalar(draw, field):
    """A value for a field that is no message."""
    if field.type in (Kind.TYPE_FLOAT, Kind.TYPE_DOUBLE):
        return draw.choice(FLOATS)
    if field.type == Kind.TYPE_STRING:
        return draw.choice((*TEXTS, *FAMILY))
    if field.type == Kind.TYPE_BYTES:
        return draw.choice(TEXTS).encode() if draw.random() < 0.5 else draw.randbytes(4)
    return draw.choice(INTEGERS)
