"""gRPC's inference messages, bytes in and bytes out: raw contents and typed contents."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_serve.errors import ServeError
from lenet_serve.protocol.infer import (
    DTYPES,
    InferRequest,
    InferResponse,
    Parameter,
    RequestedOutput,
    Tensor,
)
from lenet_serve.protocol.messages import Message, message_class, parse
from lenet_serve.protocol.raw import check_shape, from_raw, to_raw, unknown

_REQUEST = message_class("inference.ModelInferRequest")
_RESPONSE = message_class("inference.ModelInferResponse")
_OUTPUT = message_class("inference.ModelInferResponse.InferOutputTensor")
# The field of InferTensorContents that holds the elements of a datatype; FP16 has none.
_CONTENTS = {
    "BOOL": "bool_contents",
    **{f"INT{bits}": "int_contents" for bits in (8, 16, 32)},
    "INT64": "int64_contents",
    **{f"UINT{bits}": "uint_contents" for bits in (8, 16, 32)},
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_CHOICES = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}


def decode(body: bytes) -> InferRequest:
    """Read a serialized ``inference.ModelInferRequest``.

    Raises:
        ServeError: The message is malformed.
    """
    message = parse(_REQUEST, body)
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise ServeError(
            f"raw_input_contents: expected one for each of the {len(message.inputs)} inputs, "
            f"found {len(raw)}"
        )
    inputs = [
        _tensor(tensor, raw[index] if raw else None, f"inputs[{index}]")
        for index, tensor in enumerate(message.inputs)
    ]
    return InferRequest(
        message.model_name,
        message.model_version,
        message.id,
        _parameters(message.parameters),
        inputs,
        [_requested(output, f"outputs[{i}]") for i, output in enumerate(message.outputs)],
    )


def encode(response: InferResponse) -> bytes:
    """Write an ``inference.ModelInferResponse``; its tensors are raw contents, as Triton's are."""
    message = _RESPONSE(
        model_name=response.model,
        model_version=response.version,
        id=response.id,
        outputs=[
            _OUTPUT(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            for tensor in response.outputs
        ],
        raw_output_contents=[to_raw(tensor) for tensor in response.outputs],
    )
    for name, value in response.parameters.items():
        setattr(message.parameters[name], _CHOICES[type(value)], value)
    return message.SerializeToString()  # type: ignore[no-any-return]


def _tensor(message: Message, raw: bytes | None, where: str) -> Tensor:
    name, datatype, shape = message.name, message.datatype, tuple(message.shape)
    check_shape(shape, where)
    parameters = _parameters(message.parameters)
    _refuse_shared_memory(parameters, where)
    if raw is None:
        data = _typed(message, datatype, prod(shape), where)
        data = data if isinstance(data, list) else data.reshape(shape)
    elif message.HasField("contents"):
        raise ServeError(f"{where}: expected contents or raw_input_contents, found both")
    else:
        data = from_raw(raw, datatype, shape, where)
    return Tensor(name, datatype, shape, data, parameters)


def _typed(message: Message, datatype: str, count: int, where: str) -> NDArray[Any] | list[bytes]:
    field = _CONTENTS.get(datatype)
    if field is None and datatype not in DTYPES:
        raise unknown(datatype, where)
    if field is None:
        raise ServeError(f"{where}: expected {datatype} in raw_input_contents, found none there")
    others = [found.name for found, _ in message.contents.ListFields() if found.name != field]
    if others:
        raise ServeError(f"{where}: expected {datatype} in {field}, found {', '.join(others)}")
    elements = getattr(message.contents, field)
    if len(elements) != count:
        raise ServeError(
            f"{where}: expected {count} elements in {field}, by its shape, found {len(elements)}"
        )
    if datatype == "BYTES":
        return list(elements)
    dtype = DTYPES[datatype]
    wide = np.fromiter(elements, np.int64 if field in ("int_contents", "uint_contents") else dtype)
    if wide.dtype == dtype:
        return wide
    narrow = wide.astype(dtype)
    if not np.array_equal(wide, narrow):
        raise ServeError(f"{where}: expected elements of {datatype}, found one beyond its range")
    return narrow


def _requested(message: Message, where: str) -> RequestedOutput:
    parameters = _parameters(message.parameters)
    _refuse_shared_memory(parameters, where)
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise ServeError(f"{where}: expected a count as classification, found another value")
    return RequestedOutput(message.name, classes=classes)


def _parameters(messages: Mapping[str, Message]) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {}
    for name, message in messages.items() if messages else ():
        choice = message.WhichOneof("parameter_choice")
        if choice is None:
            raise ServeError("parameters: expected a value for each, found one without")
        parameters[name] = getattr(message, choice)
    return parameters


def _refuse_shared_memory(parameters: Mapping[str, Parameter], where: str) -> None:
    if parameters and "shared_memory_region" in parameters:
        raise ServeError(f"{where}: expected its bytes in the message, found shared memory")
