"""ONNX models made to hang, crash, swell or mislead an engine; all were made, none is admitted.

Each begins as the model of one dense layer, and the manifest's hashes are made to fit.
"""

import numpy as np
from artifact_files import replace_file
from dense_onnx import DENSE, FLAT, FLOAT, WEIGHTS, model, value, write_dense
from onnx import AttributeProto, FunctionProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx_parts import (
    INT64,
    RIGHT,
    after,
    branch,
    conv,
    dims,
    edit,
    external,
    first_node,
    functions_that_double,
    gemm,
    graph_field,
    ints,
    nested,
    node,
    pool,
    rename,
    reshape,
    scalar,
    scan,
    set_attribute,
    set_ir,
    set_opset,
    sparse,
    varint,
    with_nodes,
    without_end,
)  # fmt: skip

GIANT = 2**31 + 1
LARGE = [ints("to", GIANT)]
RELUS = [node("Relu", [f"x{i}"], [f"x{i + 1}"]) for i in range(100_000)]
RELUS[0].input[0], RELUS[-1].output[0] = "dense", "logits"
LOWEST = ints("lowest", -(2**63), dims=[])
# fmt: off
HOSTILE = {
    ("a division that kills", "data type 7, shape () and 8 bytes"): after(
        node("Div", ["lowest", "minus"], ["odd"]), node("Cast", ["odd"], ["wide"], to=FLOAT),
        node("Add", ["dense", "wide"], ["logits"]),
        initializers=[LOWEST, ints("minus", -1, dims=[])],
    ),
    ("a loop of 2^62", "AttributeProto: g: expected none"): without_end(),
    ("functions that double", "NodeProto: domain: expected none"): functions_that_double(),
    ("a function of the right name", "ModelProto: functions: expected none"):
        edit(lambda m: m.functions.append(FunctionProto(name="Gemm"))),
    ("a chain of 100,000", "GraphProto: node: expected at most 64"): after(*RELUS),
    ("a chain of 65", "GraphProto: node: expected at most 64"):
        after(*RELUS[:64], node("Relu", ["x64"], ["logits"])),
    ("ConstantOfShape", "data type 7, shape (1,) and 8 bytes"):
        after(*scalar("ConstantOfShape", "much", "to"), initializers=LARGE),
    ("Range", "data type 7, shape () and 8 bytes"):
        after(*scalar("Range", "much", "a", "b", "c"), initializers=[
        ints("a", 0, dims=[]), ints("b", GIANT, dims=[]), ints("c", 1, dims=[])]),
    ("Tile", "LogSoftmax, found 'Tile"):
        after(node("Tile", ["dense", "to"], ["logits"]), initializers=[ints("to", 1, GIANT)]),
    ("Expand", "data type 7, shape (3,) and 24 bytes"): after(
        node("Expand", ["dense", "to"], ["logits"]), initializers=[ints("to", GIANT, 1, 10)]
    ),
    ("If", "AttributeProto: g: expected none"): branch(),
    ("Scan", "AttributeProto: g: expected none"): scan(),
    ("RandomUniform", "LogSoftmax, found 'RandomUnifor"):
        after(node("RandomUniformLike", ["dense"], ["logits"])),
    ("Constant", "AttributeProto: t: expected none"):
        with_nodes(node("Constant", [], ["c"], value=LOWEST), FLAT, DENSE),
    ("a domain of its own", "NodeProto: domain: expected none"): with_nodes(
        FLAT, node("Gemm", ["flat", "weights"], ["logits"], domain="a")),
    ("Microsoft's domain", "NodeProto: domain: expected none"):
        after(node("Gelu", ["dense"], ["logits"], domain="com.microsoft")),
    ("an empty domain", "NodeProto: domain: expected none"): first_node(b"\x3a\x00"),
    ("another opset as well", "ModelProto: opset_import: expected at most 1"):
        edit(lambda m: m.opset_import.append(helper.make_opsetid("b", 1))),
    ("external data", "TensorProto: external_data: expected none"): edit(external),
    ("a sparse tensor", "GraphProto: sparse_initializer: expected non"): edit(sparse),
    ("a quantized tensor", "GraphProto: quantization_annotation: expecte"):
        edit(lambda m: m.graph.quantization_annotation.add(tensor_name="flat")),
    ("training", "ModelProto: training_info: expected none"): edit(lambda m: m.training_info.add()),
    ("ORT's configuration", "expected metadata"):
        edit(lambda m: m.metadata_props.add(key="ort_config", value="{}")),
    ("a key twice", "expected metadata"):
        edit(lambda m: [m.metadata_props.add(key="padding", value="2") for _ in "ab"]),
    ("giant dims", "data type 1, shape (1099511627776,) and 4096"): dims(2**40),
    ("dims that overflow to 0", "data type 1, shape (4294967296, 4294967296) "): dims(2**32, 2**32),
    ("dims that overflow to the size", "data type 1, shape (4611686018427388928, 10)"):
        dims(2**62 + 1024, 10),
    ("negative dims", "data type 1, shape (-1024, -10) and 40960 by"): dims(-1024, -10),
    ("a dim of 0", "data type 1, shape (0, 10) and 40960 bytes"): dims(0, 10),
    ("no dims", "data type 1, shape () and 4 bytes"): dims(data=bytes(4)),
    ("a byte more", "data type 1, shape (1024, 10) and 40961 byte"):
        dims(1024, 10, data=bytes(40961)),
    ("double weights", "data type 11, shape (1024, 10) and 81920 byt"):
        model(weights=WEIGHTS.astype(np.float64)),
    ("strings as weights", "data type 8, shape (1024, 10) and 40960 byte"):
        edit(lambda m: setattr(m.graph.initializer[0], "data_type", 8)),
    ("a type that is 1 in 32 bits", "data type 4294967297, shape (1024, 10) and 4"):
        edit(lambda m: None).SerializeToString().replace(
        b"\x10\x01\x42\x07weights", b"\x10\x81\x80\x80\x80\x10\x42\x03wei"),
    ("weights in another field", "TensorProto: float_data: expected none"): model(
        weights=helper.make_tensor("weights", FLOAT, WEIGHTS.shape, WEIGHTS.reshape(-1))),
    ("weights twice", "initializer 'weights': there are two"):
        edit(lambda m: m.graph.initializer.append(m.graph.initializer[0])),
    ("weights that are the images", "expected names of their own for the weights"):
        rename("weights", "images"),
    ("weights without a name", "expected names of their own for the weights"):
        rename("weights", ""),
    ("weights that nothing takes", "initializers that no node takes: ['spare']"):
        with_nodes(FLAT, DENSE, initializers=[
        numpy_helper.from_array(np.zeros(4, np.float32), "spare")]),
    ("weights of two layers", "expected weights of its own"):
        after(node("Gemm", ["dense", "weights"], ["logits"])),
    ("weights as an input", "GraphProto: input: expected at most 1"):
        edit(lambda m: m.graph.input.append(value("weights", (1024, 10)))),
    ("an output more", "GraphProto: output: expected at most 1"):
        edit(lambda m: m.graph.output.append(value("flat", (None, 1024)))),
    ("an output that is the input", "expected TensorSpec(name='logits'"):
        with_nodes(outputs=[value("images", ("batch", 1, 32, 32))]),
    ("no nodes", "expected a chain to TensorSpec(name='logits'"): with_nodes(),
    ("a name for two", "another tensor has that name"):
        with_nodes(FLAT, node("Relu", ["flat"], ["flat"]), DENSE),
    ("a name of the weights", "another tensor has that name"):
        with_nodes(node("Flatten", ["images"], ["weights"]), DENSE),
    ("a cycle of one", "expected it to take 'images', found ['flat']"):
        with_nodes(node("Relu", ["flat"], ["flat"]), DENSE),
    ("a cycle of two", "expected it to take 'images', found ['b']"):
        with_nodes(node("Relu", ["b"], ["a"]), node("Relu", ["a"], ["b"]), DENSE),
    ("a missing input", "expected weights of its own, found ['']"):
        with_nodes(FLAT, node("Gemm", ["flat", ""], ["logits"])),
    ("no inputs", "expected it to take 'flat', found []"):
        with_nodes(FLAT, node("Gemm", [], ["logits"])),
    ("an input of nobody", "expected weights of its own"):
        with_nodes(FLAT, node("Gemm", ["flat", "nobody"], ["logits"])),
    ("no output", "NodeProto: it lacks ['output']"):
        with_nodes(FLAT, node("Gemm", ["flat", "weights"], [])),
    ("two outputs", "NodeProto: output: expected at most 1"): first_node(b"\x12\x01x"),
    ("pads of 10^9", "pads: expected [0, 0, 0, 0] or [1, 1, 1, 1] "): conv(pads=[10**9] * 4),
    ("pads on one side", "pads: expected [0, 0, 0, 0] or [1, 1, 1, 1] "): conv(pads=[0, 0, 2, 2]),
    ("negative pads", "pads: expected [0, 0, 0, 0] or [1, 1, 1, 1] "): conv(pads=[-1] * 4),
    ("5x5 pads of a 3x3", "its kernel and padding do not fit the weight"): conv(pads=[2] * 4),
    ("dilations of 10^9", "dilations: expected [1, 1]"): conv(dilations=[10**9] * 2),
    ("strides of 10^9", "strides: expected [1, 1]"): conv(strides=[10**9] * 2),
    ("strides of 0", "strides: expected [1, 1], found [0, 0]"): conv(strides=[0, 0]),
    ("groups of 0", "group: expected 1, found 0"): conv(group=0),
    ("groups of 10^9", "group: expected 1, found 1000000000"): conv(group=10**9),
    ("automatic padding", "auto_pad: expected NOTSET"): conv(auto_pad="SAME_UPPER"),
    ("a kernel of 10^9", "kernel_shape: expected [3, 3] or [5, 5]"): conv(kernel_shape=[10**9] * 2),
    ("a kernel of another size", "its kernel and padding do not fit the weight"):
        conv(kernel_shape=[5, 5]),
    ("a kernel of 31", "3, 3) or 5, 5, found (1, 1, 31, 31)"): conv((1, 1, 31, 31)),
    ("a kernel of 3x5", "3, 3) or 5, 5, found (1, 1, 3, 5)"): conv((1, 1, 3, 5)),
    ("a kernel for two channels", "3, 3) or 5, 5, found (1, 2, 3, 3)"): conv((1, 2, 3, 3)),
    ("65,536 channels", "would take too much"): conv((65536, 1, 3, 3)),
    ("a pool of 10^9", "kernel_shape: expected [2, 2]"): pool(kernel_shape=[10**9] * 2),
    ("pool pads of 10^9", "pads: expected [0, 0, 0, 0]"): pool(pads=[10**9] * 4),
    ("pool strides of 1", "strides: expected [2, 2], found [1, 1]"): pool(strides=[1, 1]),
    ("no pool strides", "expected attributes kernel_shape, strides"): with_nodes(
        node("MaxPool", ["images"], ["flat"], kernel_shape=[2, 2]), DENSE),
    ("an average of 10^9", "kernel_shape: expected [2, 2]"):
        pool("AveragePool", kernel_shape=[10**9] * 2),
    ("pools to nothing", "it would leave nothing of the picture: (1, 0"): with_nodes(*(
        node("MaxPool", [a], [b], kernel_shape=[2, 2], strides=[2, 2])
        for a, b in zip(["images", *"abcde"], "abcdef", strict=True)), DENSE),
    ("a reshape to 2^31 rows", "expected to reshape (None, 1, 32, 32) to [-1"):
        reshape(GIANT, 1024),
    ("a reshape to 2^31 columns", "expected to reshape (None, 1, 32, 32) to [-1"):
        reshape(-1, GIANT),
    ("a reshape to nothing", "expected to reshape (None, 1, 32, 32) to [-1"): reshape(0, 0),
    ("a reshape of two unknowns", "expected to reshape (None, 1, 32, 32) to [-1"): reshape(-1, -1),
    ("a reshape to 3 dims", "data type 7, shape (3,) and 24 bytes"): reshape(-1, 32, 32),
    ("a reshape of a list of lists", "data type 7, shape (1, 2) and 16 bytes"):
        reshape(-1, 1024, dims=(1, 2)),
    ("a reshape by weights", "expected weights of its own"):
        with_nodes(node("Reshape", ["images", "weights"], ["flat"]), DENSE),
    ("a cast to strings", "LogSoftmax, found 'Cast"):
        after(node("Cast", ["dense"], ["logits"], to=TensorProto.STRING)),
    ("a sum that broadcasts", "LogSoftmax, found 'Add"): after(
        node("Add", ["dense", "much"], ["logits"]),
        initializers=[numpy_helper.from_array(np.zeros((1, 10**5, 1), np.float32), "much")]),
    ("a dense layer of another length", "axis: expected 1, found 2"): with_nodes(
        node("Flatten", ["images"], ["flat"], axis=2), DENSE),
    ("a bias that broadcasts", "expected a bias (10,), found (1,)"):
        gemm(np.zeros((1,), np.float32)),
    ("a bias of rows", "expected a bias (10,), found (4, 10)"): gemm(np.zeros((4, 10), np.float32)),
    ("a transposed dense layer", "expected a weight for 1024 numbers"): gemm(transB=1),
    ("alpha", "alpha: expected 1.0"): gemm(alpha=float(np.nextafter(np.float32(1), np.float32(2)))),
    ("beta of NaN", "beta: expected 1.0, found nan"): gemm(beta=float("nan")),
    ("alpha as an integer", "alpha: expected 1.0, found 1"): gemm(alpha=1),
    ("softmax of the batch", "axis: expected 1 or -1, found 0"):
        after(node("Softmax", ["dense"], ["logits"], axis=0)),
    ("an attribute twice", "alpha, beta, transA, transB, each once"):
        edit(lambda m: m.graph.node[1].attribute.extend(
        [helper.make_attribute("transA", 0)] * 2)),
    ("an attribute with two values", "axis, each once"):
        set_attribute(type=AttributeProto.INT, i=1, f=1.0),
    ("an attribute without a value", "axis, each once"): set_attribute(type=AttributeProto.INT),
    ("an attribute of another type", "axis: expected 1, found None"):
        set_attribute(type=AttributeProto.FLOAT, i=1),
    ("an attribute of no type", "AttributeProto: type: expected [1, 2, 3, 7]"):
        set_attribute(type=AttributeProto.UNDEFINED, i=1),
    ("an attribute from outside", "AttributeProto: ref_attr_name: expected none"):
        set_attribute(type=AttributeProto.INT, ref_attr_name="x"),
    ("opset 1", "expected ONNX's own opset 18 to 26"): set_opset(1),
    ("opset 10^9", "expected ONNX's own opset 18 to 26"): set_opset(10**9),
    ("opset -1", "expected ONNX's own opset 18 to 26"): set_opset(-1),
    ("IR version 0", "expected IR version 8 to 13, found 0"): set_ir(0),
    ("IR version 10^9", "expected IR version 8 to 13"): set_ir(10**9),
    ("IR version -1", "expected IR version 8 to 13, found -1"): set_ir(-1),
    ("no opset", "ModelProto: it lacks ['opset_import']"):
        edit(lambda m: m.ClearField("opset_import")),
    ("images of integers", "expected TensorSpec(name='images'"): with_nodes(
        FLAT, DENSE, inputs=[value("images", ("batch", 1, 32, 32), INT64)]),
    ("a batch without a name", "expected TensorSpec(name='images'"): with_nodes(
        FLAT, DENSE, inputs=[value("images", (None, 1, 32, 32))]),
    ("images without a type", "ValueInfoProto: it lacks ['type']"):
        with_nodes(FLAT, DENSE, inputs=[ValueInfoProto(name="images")]),
    ("17 MiB", "expected at most 16777216 bytes"):
        conv((1, 1, 3, 3)).SerializeToString() + b"\x32" + varint(2**24) + bytes(2**24),
    # ---- protobuf
    ("an unknown field", "ModelProto: unknown field 127"): RIGHT + b"\xf8\x07\x01",
    ("a group", "ModelProto: ir_version: it has the wire type"): RIGHT + b"\x0b\x0c",
    ("a wire type that is none", "ModelProto: no field has the tag 15"): RIGHT + b"\x0f",
    ("a version of 32 bits", "ModelProto: ir_version: it has the wire type"):
        RIGHT + b"\x0d\0\0\0\0",
    ("field 0", "ModelProto: no field has the tag 2"): RIGHT + b"\x02\x00",
    ("the version twice", "ModelProto: ir_version: expected at most 1"): RIGHT + b"\x08\x09",
    ("a second graph", "ModelProto: graph: expected at most 1"):
        RIGHT + RIGHT[RIGHT.index(b"\x3a"):],
    ("a version in too many bytes", "a number in more bytes than it takes, or of "):
        RIGHT.replace(b"\x08\x09", b"\x08\x89\x00", 1),
    ("a version of 70 bits", "a number in more bytes than it takes, or of "):
        RIGHT.replace(b"\x08\x09", b"\x08" + b"\xff" * 9 + b"\x7f", 1),
    ("a version of 11 bytes", "a number of more than 64 bits"):
        RIGHT.replace(b"\x08\x09", b"\x08" + b"\x80" * 10 + b"\x01", 1),
    ("a version without end", "a number of more than 64 bits"): RIGHT + b"\x08" + b"\x80" * 10**6,
    ("a version beyond its message", "its last field is longer than the message"): RIGHT.replace(
        b"\x42\x04\x0a\x00\x10\x14", b"\x42\x03\x0a\x00\x10\x14"),
    ("a length of 2^63", "GraphProto: name is longer than the message"):
        graph_field(b"\x12" + varint(2**63)),
    ("a length beyond the graph", "GraphProto: name is longer than the message"):
        graph_field(b"\x12\x7f"),
    ("a name that is not UTF-8", "NodeProto: output is not UTF-8"):
        RIGHT.replace(b"flat", b"\xff\xfe\xfd\xfc"),
    ("a million inputs", "NodeProto: input: expected at most 8"): first_node(b"\x0a\x00" * 10**6),
    ("a million nodes", "NodeProto: it lacks ['op_type', 'output']"):
        graph_field(b"\x0a\x00" * 10**6),
    ("a million initializers", "TensorProto: it lacks ['data_type', 'name', "):
        graph_field(b"\x2a\x00" * 10**6),
    ("graphs in graphs, 10,000 deep", "AttributeProto: g: expected none"): nested(10_000),
    ("a document", "GraphProto: doc_string: expected none"):
        edit(lambda m: setattr(m.graph, "doc_string", "x" * 10**6)),
}
# fmt: on


def write_hostile(folder, made):
    """An artifact with this model, and with every hash in the manifest made to fit."""
    write_dense(folder)
    data = made if isinstance(made, bytes) else made.SerializeToString()
    return replace_file(folder, "model.onnx", data)
