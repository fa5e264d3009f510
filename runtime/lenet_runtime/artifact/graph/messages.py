"""The part of ONNX that a network of LeNet's family is written in, as tables of protobuf.

Numbers and names are those of ``onnx.proto``. What an export never writes is not declared, and so
refused; a field of `most` 0 is what other tools write, refused by its name.
"""

from typing import Any

from lenet_runtime.artifact.graph.protobuf import Field, Message, parse

FLOAT, INT64 = 1, 7  # TensorProto.data_type
# AttributeProto.type, and the field that then holds the value.
ATTRIBUTE_VALUES = {1: "f", 2: "i", 3: "s", 7: "ints"}

_OPSET = Message(
    "OperatorSetIdProto",
    {1: Field("domain", str), 2: Field("version", int, needed=True)},
)
_METADATA = Message(
    "StringStringEntryProto",
    {1: Field("key", str, needed=True), 2: Field("value", str, needed=True)},
)
_DIMENSION = Message(
    "TensorShapeProto.Dimension", {1: Field("dim_value", int), 2: Field("dim_param", str)}
)
_SHAPE = Message("TensorShapeProto", {1: Field("dim", _DIMENSION, 8)})
_TENSOR_TYPE = Message(
    "TypeProto.Tensor",
    {1: Field("elem_type", int, needed=True), 2: Field("shape", _SHAPE, needed=True)},
)
_TYPE = Message(
    "TypeProto",
    {
        1: Field("tensor_type", _TENSOR_TYPE, needed=True),
        4: Field("sequence_type", memoryview, 0),
        5: Field("map_type", memoryview, 0),
        8: Field("sparse_tensor_type", memoryview, 0),
        9: Field("optional_type", memoryview, 0),
    },
)
_VALUE = Message(
    "ValueInfoProto",
    {
        1: Field("name", str, needed=True),
        2: Field("type", _TYPE, needed=True),
        3: Field("doc_string", memoryview, 0),
    },
)
_TENSOR = Message(
    "TensorProto",
    {
        1: Field("dims", int, 8),
        2: Field("data_type", int, needed=True),
        4: Field("float_data", memoryview, 0),
        7: Field("int64_data", memoryview, 0),
        8: Field("name", str, needed=True),
        9: Field("raw_data", memoryview, needed=True),
        12: Field("doc_string", memoryview, 0),
        13: Field("external_data", memoryview, 0),
        14: Field("data_location", int, 0),
    },
)
_ATTRIBUTE = Message(
    "AttributeProto",
    {
        1: Field("name", str, needed=True),
        2: Field("f", float),
        3: Field("i", int),
        4: Field("s", str),
        5: Field("t", memoryview, 0),
        6: Field("g", memoryview, 0),
        8: Field("ints", int, 8),
        11: Field("graphs", memoryview, 0),
        13: Field("doc_string", memoryview, 0),
        20: Field("type", frozenset(ATTRIBUTE_VALUES), needed=True),
        21: Field("ref_attr_name", memoryview, 0),
        22: Field("sparse_tensor", memoryview, 0),
    },
)
_NODE = Message(
    "NodeProto",
    {
        1: Field("input", str, 8),
        2: Field("output", str, needed=True),
        3: Field("name", str),
        4: Field("op_type", str, needed=True),
        5: Field("attribute", _ATTRIBUTE, 16),
        6: Field("doc_string", memoryview, 0),
        7: Field("domain", memoryview, 0),
        9: Field("metadata_props", memoryview, 0),
    },
)
_GRAPH = Message(
    "GraphProto",
    {
        1: Field("node", _NODE, 64),
        2: Field("name", str),
        5: Field("initializer", _TENSOR, 64),
        10: Field("doc_string", memoryview, 0),
        11: Field("input", _VALUE, needed=True),
        12: Field("output", _VALUE, needed=True),
        13: Field("value_info", memoryview, 0),
        14: Field("quantization_annotation", memoryview, 0),
        15: Field("sparse_initializer", memoryview, 0),
        16: Field("metadata_props", memoryview, 0),
    },
)
_MODEL = Message(
    "ModelProto",
    {
        1: Field("ir_version", int, needed=True),
        2: Field("producer_name", str),
        3: Field("producer_version", str),
        4: Field("domain", memoryview, 0),
        5: Field("model_version", int, 0),
        6: Field("doc_string", memoryview, 0),
        7: Field("graph", _GRAPH, needed=True),
        8: Field("opset_import", _OPSET, needed=True),
        14: Field("metadata_props", _METADATA, 16),
        20: Field("training_info", memoryview, 0),
        25: Field("functions", memoryview, 0),
    },
)


def read(data: bytes) -> dict[str, Any]:
    """The model's values by the names above; one graph with one input and one output.

    Raises:
        Malformed: `data` is not protobuf.
        ValueError: It is not of this part of ONNX.
    """
    return parse(_MODEL, data)
