"""V2's REST bodies: what is read, what is refused and how, what is written."""

import json

import numpy as np
import orjson
import pytest

from lenet_serve import Code, InferRequest, InferResponse, Limits, ServeError, Tensor
from lenet_serve.protocol import rest

DIGIT = {"name": "images", "shape": [1, 1, 32, 32], "datatype": "FP32", "data": [0.5] * 1024}
SMALL = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2.5, 3, 4]}


def decode(body, header=None, limits=None):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return rest.decode("lenet", "", body, header, limits or Limits())


def request(**fields):
    return {"inputs": [SMALL | fields]}


def with_parameters(**parameters):
    return {"inputs": [SMALL], "parameters": parameters}


def binary(raw, size=None, shape=(2, 2), datatype="FP32", **more):
    tensor = {"name": "x", "shape": shape, "datatype": datatype} | more
    tensor["parameters"] = {"binary_data_size": len(raw) if size is None else size}
    header = json.dumps({"inputs": [tensor]}).encode()
    return header + raw, str(len(header))


REFUSED = {
    # what is wrong with the whole: the body, and the start of the message
    "malformed JSON": (b'{"inputs": [', "body: expected a JSON object, found unexpected end"),
    "empty body": (b"", "body: expected a JSON object, found an empty body"),
    "null": (b"null", "body: expected a JSON object, found null"),
    "array": (b"[]", "body: expected a JSON object, found an array"),
    "empty object": (b"{}", "inputs: expected an array, found none"),
    "not utf-8": (b'{"inputs": "\xff"}', "body: expected"),
    "trailing garbage": (b"{} {}", "body: expected"),
    "NaN": (b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[NaN]}]}', "body: "),
    "1e400": (b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1e400]}]}', "body: "),
    "half a surrogate": (b'{"id":"\\ud800","inputs":[]}', "body: expected a JSON object"),
    "deep": (b"[" * 100_000, "body: expected"),
    "deep and unknown": (b'{"x":' + b"[" * 40 + b"]" * 40 + b"}", "body: expected fewer levels"),
    "inputs no array": ({"inputs": {}}, "inputs: expected an array, found an object"),
    "inputs of numbers": ({"inputs": [1]}, "inputs[0]: expected an object, found an integer"),
    "id number": ({"id": 1, "inputs": []}, "id: expected a string, found an integer"),
    "parameters array": ({"parameters": [], "inputs": []}, "parameters: expected an object"),
    "parameter object": (with_parameters(x={}), "parameters: expected strings, numbers"),
    "parameter null": (with_parameters(x=None), "parameters: expected strings, numbers"),
    "binary output 1": (with_parameters(binary_data_output=1), "parameters.binary_data_output: "),
    # what is wrong with an input
    "no name": (request(name=None), "inputs[0].name: expected a string, found null"),
    "no shape": (request(shape=None), "inputs[0].shape: expected an array, found null"),
    "no datatype": (request(datatype=None), "inputs[0].datatype: expected a string"),
    "no data": (request(data=None), "inputs[0].data: expected an array, found null"),
    "data string": (request(data="1234"), "inputs[0].data: expected an array, found a string"),
    "datatype FP31": (request(datatype="FP31"), "inputs[0].datatype: expected one of BOOL"),
    "lower-case": (request(datatype="fp32"), "inputs[0].datatype: expected one of BOOL"),
    "FP16": (request(datatype="FP16"), "inputs[0]: FP16 has no form in JSON"),
    "null element": (request(data=[1, None, 3, 4]), "inputs[0].data[1]: expected an element of"),
    "string element": (request(data=["1", 2, 3, 4]), "inputs[0].data[0]: expected an element of"),
    "bool element": (request(data=[1, 2, 3, True]), "inputs[0].data[3]: expected an element of"),
    "false element": (request(data=[1, 2, 3, False]), "inputs[0].data[3]: expected an element of"),
    "bool for int": (request(datatype="INT8", data=[2, 2, 3, True]), "inputs[0].data[3]: "),
    "bool for pixel": (request(datatype="UINT8", data=[2, 2, 3, True]), "inputs[0].data[3]: "),
    "int for bool": (request(datatype="BOOL", data=[True, 1, True, True]), "inputs[0].data[1]: "),
    "float for int": (request(datatype="INT32"), "inputs[0].data[1]: expected an element of INT32"),
    "over FP32": (request(data=[1, 2, 3, 1e39]), "inputs[0].data: expected elements of FP32"),
    "huge integer": (request(data=[1, 2, 3, 2**200]), "inputs[0].data: expected elements of FP32"),
    "pixel 256": (request(datatype="UINT8", data=[1, 2, 3, 256]), "inputs[0].data: expected"),
    "pixel -1": (request(datatype="UINT8", data=[1, 2, 3, -1]), "inputs[0].data: expected"),
    "int8 128": (request(datatype="INT8", data=[1, 2, 3, 128]), "inputs[0].data: expected"),
    "short": (request(data=[1, 2, 3]), "inputs[0].data: expected 4 elements as shape [2, 2] says"),
    "long": (request(data=[1] * 5), "inputs[0].data: expected 4 elements as shape [2, 2] says"),
    "ragged": (request(data=[[1, 2, 3], [4]]), "inputs[0].data: expected a flat array or one"),
    "turned": (request(shape=[1, 4], data=[[1, 2], [3, 4]]), "inputs[0].data: expected a flat"),
    "too deep": (request(data=[[[1, 2], [3, 4]]]), "inputs[0].data: expected a flat array or"),
    "half nested": (request(data=[1, 2, [3, 4]]), "inputs[0].data: expected 4 elements"),
    "nested late": (request(data=[1, 2, 3, [4]]), "inputs[0].data[3]: expected an element"),
    "shape negative": (request(shape=[-2, -2]), "inputs[0].shape: expected integers of at least 0"),
    "shape float": (request(shape=[2.0, 2]), "inputs[0].shape: expected integers of at least 0"),
    "shape bool": (request(shape=[True, 4]), "inputs[0].shape: expected integers of at least 0"),
    "shape string": (request(shape="22"), "inputs[0].shape: expected an array, found a string"),
    "shape huge": (request(shape=[2**40, 2**40]), "inputs[0].shape: expected at most"),
    "shape of 0 and huge": (request(shape=[0, 2**62], data=[]), "inputs[0].shape: expected at"),
    "rank": (request(shape=[1] * 40), "inputs[0].shape: expected at most 8 dimensions"),
    "shared memory": (
        request(data=None, parameters={"shared_memory_region": "r"}), "inputs[0]: this server has",
    ),
    "BYTES of numbers": (request(datatype="BYTES"), "inputs[0].data[0]: expected a string"),
    "no base64": (
        request(shape=[1], datatype="BYTES", data=["ab!"], parameters={"content_type": "base64"}),
        "inputs[0].data: expected base64",
    ),
    # what is wrong with an output
    "outputs no array": ({"inputs": [SMALL], "outputs": "x"}, "outputs: expected an array"),
    "output string": ({"inputs": [SMALL], "outputs": ["x"]}, "outputs[0]: expected an object"),
    "output unnamed": ({"inputs": [SMALL], "outputs": [{}]}, "outputs[0].name: expected a string"),
    "classification -1": (
        {"inputs": [SMALL], "outputs": [{"name": "y", "parameters": {"classification": -1}}]},
        "outputs[0].parameters.classification: expected an integer",
    ),
    "classification true": (
        {"inputs": [SMALL], "outputs": [{"name": "y", "parameters": {"classification": True}}]},
        "outputs[0].parameters.classification: expected an integer",
    ),
    "binary_data 1": (
        {"inputs": [SMALL], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
        "outputs[0].parameters.binary_data: expected a boolean",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_malformed_bodies_are_refused_and_said_where(case):
    body, message = REFUSED[case]
    with pytest.raises(ServeError) as caught:
        decode(body)
    assert caught.value.code is Code.MALFORMED
    assert str(caught.value).startswith(message), str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("body", "header", "message"),
    [
        (*binary(b"\0" * 15), "inputs[0]: expected 16 bytes of FP32 [2, 2], found 15"),
        (*binary(b"\0" * 17), "inputs[0]: expected 16 bytes"),
        (*binary(b"\0" * 17, size=16), "body: expected 16 bytes of binary data as the inputs say"),
        (*binary(b"\0" * 15, size=16), "inputs[0].parameters.binary_data_size: expected an int"),
        (*binary(b"\0" * 16, size=-1), "inputs[0].parameters.binary_data_size: expected an int"),
        (*binary(b"\0" * 16, size="16"), "inputs[0].parameters.binary_data_size: expected an int"),
        (*binary(b"\0" * 16, size=True), "inputs[0].parameters.binary_data_size: expected an int"),
        (*binary(b"\0" * 16, data=[1]), "inputs[0]: expected data or binary_data_size, found both"),
        (*binary(b"\0" * 16, datatype="BF16"), "inputs[0].datatype: expected one of"),
        (*binary(b"\5\0\0\0ab", shape=[1], datatype="BYTES"), "inputs[0]: expected BYTES, each"),
        (*binary(b"\1\0\0\0a\1", shape=[1], datatype="BYTES"), "inputs[0]: expected BYTES, each"),
        (*binary(b"\1\0\0\0a", shape=[2], datatype="BYTES"), "inputs[0]: expected 2 BYTES as"),
        (*binary(b"\0\1\2\0", datatype="BOOL"), "inputs[0]: expected bytes 0 and 1 for BOOL"),
        (b"{}", "3", "inference-header-content-length: expected an integer from 0 to 2"),
        (b"{}", "-1", "inference-header-content-length: expected an integer from 0 to 2"),
        (b"{}", "abc", "inference-header-content-length: expected an integer from 0 to 2"),
        (b"{}", "²", "inference-header-content-length: expected an integer from 0 to 2"),
        (b"{}", "9" * 5000, "inference-header-content-length: expected an integer from 0 to 2"),
        (b"", "0", "body: expected raw images, found an empty body"),
        (binary(b"\0" * 16)[0], "5", "body: expected a JSON object"),
        (binary(b"\0" * 16)[0], None, "body: expected a JSON object"),
    ],
)
def test_malformed_binary_bodies_are_refused(body, header, message):
    with pytest.raises(ServeError) as caught:
        decode(body, header)
    assert caught.value.code is Code.MALFORMED
    assert str(caught.value).startswith(message), str(caught.value)


def test_what_is_right_is_read():
    body = {
        "id": "ä7", "unknown": [[1]], "inputs": [SMALL | {"unknown": {}}],
        "parameters": {"a": 1, "b": "c", "d": 0.5, "e": True, "priority": -1},
        "outputs": [{"name": "y", "parameters": {"classification": 3, "binary_data": True}}],
    }  # fmt: skip
    read = decode(body)
    assert (read.id, read.parameters) == ("ä7", body["parameters"])
    (tensor,), (output,) = read.inputs, read.outputs
    assert tensor.data.tolist() == [[1.0, 2.5], [3.0, 4.0]]
    assert tensor.data.dtype is np.dtype(np.float32)
    assert (output.name, output.classes, output.binary) == ("y", 3, True)
    nested = decode(request(data=[[1, 2.5], [3, 4]]))
    assert np.array_equal(nested.inputs[0].data, tensor.data)


def test_null_is_as_if_it_was_not_there():
    read = decode({"id": None, "parameters": None, "inputs": [SMALL], "outputs": None})
    assert (read.id, read.parameters, read.outputs) == ("", {}, [])


def test_of_duplicate_keys_the_last_counts():
    assert decode(b'{"id":"1","id":"2","inputs":[]}').id == "2"


def test_zeros_and_ones_are_numbers():
    assert decode(request(data=[0, 1, 0.0, 1.0])).inputs[0].data.ravel().tolist() == [0, 1, 0, 1]


def test_binary_data_is_aligned_and_its_own():
    raw = np.arange(4, dtype=np.float32).tobytes()
    body, header = binary(raw)
    for padding in range(4):
        padded = body[: int(header)] + b" " * padding + raw
        data = decode(padded, str(int(header) + padding)).inputs[0].data
        assert data.tolist() == [[0, 1], [2, 3]]
        assert data.flags.carray


def test_raw_bodies_are_left_to_the_model():
    read = decode(b"\0" * 8, "0")
    assert (read.inputs[0].datatype, read.inputs[0].data, read.binary) == ("", b"\0" * 8, True)


def test_strings_are_themselves_or_base64():
    strings = request(shape=[2], datatype="BYTES", data=["ä", ""])
    assert decode(strings).inputs[0].data == ["ä".encode(), b""]
    encoded = request(
        shape=[1], datatype="BYTES", data=["/+8="], parameters={"content_type": "base64"}
    )
    assert decode(encoded).inputs[0].data == [b"\xff\xef"]


def answer(*outputs, **fields):
    return InferResponse("lenet", "1", fields.pop("id", ""), list(outputs), **fields)


LOGITS = Tensor("logits", "FP32", (1, 3), np.float32([[0.1, -2, 1e-30]]))
LABELS = Tensor("labels", "BYTES", (2,), [b"7", b"ten"])


def test_json_answers():
    headers, body = rest.encode(answer(LOGITS, LABELS, id="5"), InferRequest("lenet"))
    assert headers == [(b"content-type", b"application/json")]
    assert orjson.loads(body) == {
        "model_name": "lenet", "model_version": "1", "id": "5",
        "outputs": [
            {"name": "logits", "datatype": "FP32", "shape": [1, 3], "data": [0.1, -2.0, 1e-30]},
            {"name": "labels", "datatype": "BYTES", "shape": [2], "data": ["7", "ten"]},
        ],
    }  # fmt: skip
    assert b'"id"' not in rest.encode(answer(LOGITS), InferRequest("lenet"))[1]


def test_binary_answers():
    """Each output as it was asked for; those that are not listed as the request says."""
    read = decode(
        with_parameters(binary_data_output=True)
        | {"outputs": [{"name": "logits", "parameters": {"binary_data": False}},
                       {"name": "labels"}]}
    )  # fmt: skip
    headers, body = rest.encode(answer(LOGITS, LABELS), read)
    assert headers[0] == (b"content-type", b"application/octet-stream")
    length = int(dict(headers)[b"inference-header-content-length"])
    document = orjson.loads(body[:length])
    assert document["outputs"][0]["data"] == [0.1, -2.0, 1e-30]
    assert document["outputs"][1]["parameters"] == {"binary_data_size": 12}
    assert body[length:] == b"\1\0\0\0007\3\0\0\0ten"


def test_nan_never_leaves_as_json():
    broken = Tensor("logits", "FP32", (1, 2), np.float32([[np.nan, 1]]))
    with pytest.raises(ServeError, match="NaN or infinity") as caught:
        rest.encode(answer(broken), InferRequest("lenet"))
    assert caught.value.code is Code.INTERNAL
    named = rest.encode(answer(LOGITS, id="null"), InferRequest("lenet"))[1]
    assert orjson.loads(named)["id"] == "null"
