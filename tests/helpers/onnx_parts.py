"""What hostile ONNX models are made of: the model of one dense layer, and what is done to it."""

import numpy as np
from dense_onnx import DENSE, FLAT, FLOAT, INPUT, OUTPUT, model, value
from onnx import (
    AttributeProto,
    ModelProto,
    TensorProto,
    helper,
    numpy_helper,
)

node = helper.make_node
INT64 = TensorProto.INT64
RIGHT = model().SerializeToString()
BEFORE = node("Gemm", ["flat", "weights"], ["dense"])  # the layer, where something follows it


def ints(name, *values, dims=None):
    shape = [len(values)] if dims is None else dims
    return numpy_helper.from_array(np.array(values, np.int64).reshape(shape), name)


def with_nodes(*nodes, initializers=(), inputs=(INPUT,), outputs=(OUTPUT,)):
    made = model(list(nodes), inputs=inputs, outputs=outputs)
    made.graph.initializer.extend(initializers)
    return made


def after(*nodes, initializers=()):
    """The dense layer, then these nodes, from ``dense`` to ``logits``."""
    return with_nodes(FLAT, BEFORE, *nodes, initializers=initializers)


def scalar(kind, name, *inputs):
    """A large tensor of one node that no weights are behind, summed, and added to the logits."""
    return [
        node(kind, list(inputs), [name]),
        node("Cast", [name], ["wide"], to=FLOAT),
        node("ReduceSum", ["wide"], ["sum"], keepdims=0),
        node("Add", ["dense", "sum"], ["logits"]),
    ]


def edit(change):
    """The right model after `change`."""
    made = ModelProto.FromString(RIGHT)
    change(made)
    return made


def without_end():
    body = helper.make_graph(
        [node("Identity", ["go"], ["go_on"]), node("Relu", ["x"], ["y"])],
        "body",
        [value("i", (), INT64), value("go", (), TensorProto.BOOL), value("x", (None, 10))],
        [value("go_on", (), TensorProto.BOOL), value("y", (None, 10))],
    )
    turns = [ints("turns", 2**62, dims=[]), helper.make_tensor("go0", TensorProto.BOOL, [], [1])]
    return after(node("Loop", ["turns", "go0", "dense"], ["logits"], body=body), initializers=turns)


def functions_that_double():
    made = model([FLAT, BEFORE, node("f0", ["dense"], ["logits"], domain="own")])
    for level in range(15):
        calls = [
            node(f"f{level + 1}", ["x"], ["a"], domain="own"),
            node(f"f{level + 1}", ["a"], ["y"], domain="own"),
        ]
        made.functions.append(
            helper.make_function(
                "own", f"f{level}", ["x"], ["y"],
                calls if level < 14 else [node("Relu", ["x"], ["y"])],
                [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)],
            )
        )  # fmt: skip
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made


def branch():
    def one(kind, name):
        return helper.make_graph([node(kind, ["dense"], [name])], name, [], [value(name, None)])

    condition = helper.make_tensor("condition", TensorProto.BOOL, [], [1])
    taken = node("If", ["condition"], ["logits"], then_branch=one("Relu", "a"),
                 else_branch=one("Tanh", "b"))  # fmt: skip
    return after(taken, initializers=[condition])


def scan():
    body = helper.make_graph(
        [node("Relu", ["x"], ["y"])], "body", [value("x", (10,))], [value("y", (10,))]
    )
    return after(node("Scan", ["dense"], ["logits"], body=body, num_scan_inputs=1))


def external(made):
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="golden.npz")


def sparse(made):
    made.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            helper.make_tensor("more", FLOAT, [1], [1.0]), ints("at", 2**40), [2**62]
        )
    )


def dims(*sizes, data=b""):
    def change(made):
        tensor = made.graph.initializer[0]
        del tensor.dims[:]
        tensor.dims.extend(sizes)
        tensor.raw_data = data or tensor.raw_data

    return edit(change)


def conv(weight=(1, 1, 3, 3), **attributes):
    """A convolution of the images before the dense layer."""
    tensor = numpy_helper.from_array(np.zeros(weight, np.float32), "kernel")
    return with_nodes(
        node("Conv", ["images", "kernel"], ["features"], **attributes),
        node("Flatten", ["features"], ["flat"]), DENSE,
        initializers=[tensor],
    )  # fmt: skip


def pool(kind="MaxPool", **attributes):
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2]} | attributes
    return with_nodes(
        node(kind, ["images"], ["features"], **attributes),
        node("Flatten", ["features"], ["flat"]), DENSE,
    )  # fmt: skip


def reshape(*target, dims=None):
    return with_nodes(
        node("Reshape", ["images", "to"], ["flat"]),
        DENSE,
        initializers=[
            numpy_helper.from_array(np.array(target, np.int64).reshape(dims or -1), "to")
        ],
    )


def gemm(second=None, **attributes):
    more = [] if second is None else [numpy_helper.from_array(second, "bias")]
    inputs = ["flat", "weights", *(tensor.name for tensor in more)]
    return with_nodes(FLAT, node("Gemm", inputs, ["logits"], **attributes), initializers=more)


def set_opset(number):
    return edit(lambda made: setattr(made.opset_import[0], "version", number))


def set_ir(number):
    return edit(lambda made: setattr(made, "ir_version", number))


def set_attribute(**fields):
    def change(made):
        made.graph.node[0].attribute.append(AttributeProto(name="axis", **fields))
        if len(made.graph.node[0].attribute) == 2:
            del made.graph.node[0].attribute[0]

    return edit(change)


def rename(old, new):
    def change(made):
        for tensor in made.graph.initializer:
            tensor.name = new if tensor.name == old else tensor.name
        for each in made.graph.node:
            each.input[:] = [new if name == old else name for name in each.input]
            each.output[:] = [new if name == old else name for name in each.output]

    return edit(change)


def varint(number):
    sizes = bytearray()
    while number > 127:
        sizes.append(number & 127 | 128)
        number >>= 7
    return bytes([*sizes, number])


def graph_field(data):
    """The right model with these bytes at the end of its graph."""
    made = ModelProto.FromString(RIGHT)
    graph = made.graph.SerializeToString() + data
    made.ClearField("graph")
    return made.SerializeToString() + b"\x3a" + varint(len(graph)) + graph


def first_node(data):
    """A model whose first node has these bytes at its end."""
    made = ModelProto.FromString(RIGHT)
    first = made.graph.node[0].SerializeToString() + data
    rest = ModelProto.FromString(RIGHT).graph
    del rest.node[0]
    graph = b"\x0a" + varint(len(first)) + first + rest.SerializeToString()
    made.ClearField("graph")
    return made.SerializeToString() + b"\x3a" + varint(len(graph)) + graph


def nested(depth):
    """Attributes of graphs of nodes with attributes, one inside the other."""
    data = b""
    for _ in range(depth):
        data = b"\x32" + varint(len(data)) + data  # AttributeProto.g
        data = b"\x2a" + varint(len(data)) + data  # NodeProto.attribute
        data = b"\x0a" + varint(len(data)) + data  # GraphProto.node
    return graph_field(data)
