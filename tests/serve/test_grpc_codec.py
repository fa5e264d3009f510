"""gRPC's inference messages, without a server: what is read, what is refused, and why."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenet_serve import InferResponse, ServeError, Tensor
from lenet_serve.protocol import grpc as codec
from lenet_serve.protocol.messages import message_class

Request = message_class("inference.ModelInferRequest")
Response = message_class("inference.ModelInferResponse")
ONES = np.ones((1, 1, 32, 32), np.float32)
RAW = (ONES.tobytes(),)


def request(datatype="FP32", shape=ONES.shape, raw=RAW, **contents):
    message = Request(model_name="lenet", id="7", raw_input_contents=raw)
    tensor = message.inputs.add(name="images", datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    return message


def decode(message):
    return codec.decode(message.SerializeToString())


def test_raw_and_typed_contents_are_the_same_request():
    typed = decode(request(raw=(), fp32_contents=ONES.ravel()))
    raw = decode(request())
    assert (raw.model, raw.version, raw.id) == ("lenet", "", "7")
    for found in (raw.inputs[0], typed.inputs[0]):
        assert (found.name, found.datatype, found.shape) == ("images", "FP32", ONES.shape)
        assert found.data.dtype == np.float32
        assert np.array_equal(found.data, ONES)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (request(fp32_contents=ONES.ravel()), "expected contents or raw_input_contents"),
        (request(raw=()), "1024 elements in fp32_contents, by its shape, found 0"),
        (request(raw=(ONES.tobytes()[:-1],)), "expected 4096 bytes of FP32.*found 4095"),
        (request(raw=(ONES.tobytes() + b"0",)), "expected 4096 bytes of FP32.*found 4097"),
        (request(raw=RAW * 2), "one for each of the 1 inputs, found 2"),
        (request(raw=(), int_contents=[1] * 1024), "FP32 in fp32_contents, found int_contents"),
        (request(raw=(), fp32_contents=[1], int_contents=[1]), "found int_contents"),
        (request("FP31"), "datatype: expected one of BOOL.*found 'FP31'"),
        (request("fp32"), "datatype: expected one of BOOL.*found 'fp32'"),
        (request(shape=[-1, 1, 32, 32]), "integers of at least 0, found a negative one"),
        (request(shape=[0, 2**62], raw=(b"",)), "elements, found more"),
        (request(shape=[1] * 40, raw=(b"1234",)), "at most 8 dimensions"),
        (request(shape=[2**40, 2**40]), "elements, found more"),
        (request("INT8", [1], raw=(), int_contents=[128]), "INT8, found one beyond its range"),
        (request("UINT8", [1], raw=(), uint_contents=[2**32 - 1]), "found one beyond its range"),
        (request("BOOL", [1], raw=(b"\x02",)), "0 and 1 for BOOL"),
        (request("FP16", [1], raw=()), "FP16 in raw_input_contents, found none"),
        (request("BYTES", [1], raw=(b"\x05\0\0\0four",)), "ends beyond the 8 bytes"),
        (request("BYTES", [1], raw=(b"\x05\0",)), "ends beyond the 2 bytes"),
        (request("BYTES", [2], raw=(b"\x01\0\0\0x",)), "expected 2 BYTES"),
        (request("BYTES", [1], raw=(b"\x01\0\0\0x" * 2,)), "expected 1 BYTES"),
        (request("BYTES", [2**62], raw=(b"\x01\0\0\0x",)), "elements, found more"),
    ],
)
def test_malformed_requests_say_what_was_expected_and_found(message, said):
    with pytest.raises(ServeError, match=said) as refused:
        decode(message)
    assert refused.value.code.grpc == "INVALID_ARGUMENT"


def test_parameters_are_read_and_one_without_a_value_is_refused():
    message = request()
    message.parameters["timeout"].int64_param = 5
    message.parameters["half"].double_param = 0.5
    message.inputs[0].parameters["sure"].bool_param = True
    message.outputs.add(name="logits").parameters["classification"].int64_param = 3
    found = decode(message)
    assert found.parameters == {"timeout": 5, "half": 0.5}
    assert found.inputs[0].parameters == {"sure": True}
    assert [(output.name, output.classes) for output in found.outputs] == [("logits", 3)]
    message.parameters["empty"].SetInParent()
    with pytest.raises(ServeError, match="expected a value for each, found one without"):
        decode(message)


@pytest.mark.parametrize("where", ["inputs", "outputs"])
def test_shared_memory_is_refused(where):
    message = request()
    message.outputs.add(name="logits")
    getattr(message, where)[0].parameters["shared_memory_region"].string_param = "region"
    with pytest.raises(ServeError, match="found shared memory"):
        decode(message)


@pytest.mark.parametrize("classes", [-1, 0.5, "3", True])
def test_a_classification_that_is_no_count_is_refused(classes):
    message = request()
    parameter = message.outputs.add(name="logits").parameters["classification"]
    kind = {int: "int64", float: "double", str: "string", bool: "bool"}[type(classes)]
    setattr(parameter, f"{kind}_param", classes)
    with pytest.raises(ServeError, match="a count as classification"):
        decode(message)


def test_the_answers_tensors_are_raw():
    logits = np.arange(20, dtype=np.float32).reshape(2, 10)
    outputs = [
        Tensor("logits", "FP32", (2, 10), logits),
        Tensor("labels", "BYTES", (2,), [b"7", b"ten"]),
    ]
    answer = Response.FromString(codec.encode(InferResponse("lenet", "1", "7", outputs)))
    assert (answer.model_name, answer.model_version, answer.id) == ("lenet", "1", "7")
    assert [list(output.shape) for output in answer.outputs] == [[2, 10], [2]]
    assert answer.raw_output_contents == [
        logits.tobytes(),
        b"\x01\0\0\x007\x03\0\0\0ten",
    ]


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_request_or_refused(body):
    with suppress(ServeError):
        codec.decode(body)


@given(st.data())
def test_a_valid_request_with_bytes_changed_is_a_request_or_refused(data):
    body = bytearray(request("BYTES", [2], raw=(b"\x01\0\0\0x" * 2,)).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = codec.decode(bytes(body))
    except ServeError:
        return
    for tensor in found.inputs:
        assert np.size(tensor.data) == np.prod(tensor.shape)
