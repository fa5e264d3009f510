"""V2's REST bodies: JSON, and binary tensors behind a JSON header."""

from typing import Any

import numpy as np
import orjson

from lenet_serve.errors import ServeError
from lenet_serve.limits import Limits
from lenet_serve.protocol.infer import (
    InferRequest,
    InferResponse,
    Parameter,
    RequestedOutput,
    Tensor,
)
from lenet_serve.protocol.json_data import from_json, kind
from lenet_serve.protocol.raw import check_shape, from_raw, to_raw

LENGTH = "inference-header-content-length"
Headers = list[tuple[bytes, bytes]]
_REQUEST = frozenset(("id", "parameters", "inputs", "outputs"))
_INPUT = frozenset(("name", "shape", "datatype", "parameters", "data"))
_OUTPUT = frozenset(("name", "parameters"))


def decode(
    model: str, version: str, body: bytes, header_length: str | None, limits: Limits
) -> InferRequest:
    """Read the body of ``POST /v2/models/MODEL[/versions/VERSION]/infer``.

    What the protocol does not know is ignored; what it knows must be of its kind, and null is as if
    it was not there.

    Args:
        model, version: As the path names them; version is empty where it names none.
        body: The body, inflated.
        header_length: The value of the header `LENGTH`; None where it was not sent.
        limits: Bounds of what is accepted.

    Raises:
        ServeError: The body is malformed, or beyond the limits. No message repeats it.
    """
    text, binary = _split(body, header_length)
    if not text and binary:
        return InferRequest(model, version, inputs=[Tensor("", "", (), bytes(binary))], binary=True)
    document = parse(text)
    if not document.keys() <= _REQUEST:
        _check_unknown(document, _REQUEST, limits.json_depth - 1)
    own_id = document.get("id")
    if own_id is None:
        own_id = ""
    elif type(own_id) is not str:
        raise ServeError(f"id: expected a string, found {kind(own_id)}")
    parameters = _parameters(document, "")
    values = _list(document, "inputs")
    if values is None:
        raise ServeError("inputs: expected an array, found none")
    inputs, at = [], 0
    for index, value in enumerate(values):
        tensor, used = _input(value, f"inputs[{index}]", text, binary[at:], limits)
        inputs.append(tensor)
        at += used
    if at != len(binary):
        raise ServeError(
            f"body: expected {at} bytes of binary data as the inputs say, found {len(binary)}"
        )
    by_default = _flag(parameters, "binary_data_output", "parameters", default=False)
    outputs = [
        _output(value, f"outputs[{index}]", by_default, limits)
        for index, value in enumerate(_list(document, "outputs") or ())
    ]
    return InferRequest(model, version, own_id, parameters, inputs, outputs, by_default)


def parse(text: bytes | memoryview) -> dict[str, Any]:
    """The JSON object that a body is.

    Raises:
        ServeError: It is something else.
    """
    try:
        document = orjson.loads(text)
    except ValueError as error:
        found = f"{error}" if len(text) else "an empty body"
        raise ServeError(f"body: expected a JSON object, found {found}") from error
    if type(document) is not dict:
        raise ServeError(f"body: expected a JSON object, found {kind(document)}")
    return document


def encode(response: InferResponse, request: InferRequest) -> tuple[Headers, bytes]:
    """Write the answer's headers and body.

    Raises:
        ServeError: An output has NaN or infinities, which JSON has not.
    """
    binary = {
        output.name: output.binary for output in reversed(request.outputs)
    }  # the first counts
    outputs, raws = [], []
    for tensor in response.outputs:
        entry: dict[str, Any] = {
            "name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape
        }  # fmt: skip
        if binary.get(tensor.name, request.binary):
            raws.append(to_raw(tensor))
            entry["parameters"] = {"binary_data_size": len(raws[-1])}
        else:
            entry["data"] = _json_data(tensor)
        outputs.append(entry)
    document: dict[str, Any] = {"model_name": response.model, "model_version": response.version}
    if response.id:
        document["id"] = response.id
    if response.parameters:
        document["parameters"] = response.parameters
    document["outputs"] = outputs
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not raws:
        if b"null" in text:
            _check_finite(response)
        return [(b"content-type", b"application/json")], text
    length = str(len(text)).encode()
    headers = [(b"content-type", b"application/octet-stream"), (LENGTH.encode(), length)]
    return headers, b"".join([text, *raws])


def _json_data(tensor: Tensor) -> Any:
    if isinstance(tensor.data, np.ndarray):
        return np.ravel(tensor.data)  # of float32, orjson writes the shortest digits
    elements: Any = tensor.data
    return [element.decode() for element in elements]


def _check_finite(response: InferResponse) -> None:
    for tensor in response.outputs:
        data = tensor.data
        if isinstance(data, np.ndarray) and not np.isfinite(data).all():
            raise ServeError(
                f"{tensor.name}: the model answers these images with NaN or infinity, which JSON "
                "does not have; ask for binary_data"
            )


def _split(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    """The JSON and the binary data of a body."""
    if header_length is None:
        return body, memoryview(b"")
    digits = header_length.isascii() and header_length.isdigit() and len(header_length) <= 18
    if not digits or int(header_length) > len(body):
        raise ServeError(
            f"{LENGTH}: expected an integer from 0 to {len(body)}, the body's length, found "
            f"{header_length[:40]!r}"
        )
    length = int(header_length)
    if not length and not body:
        raise ServeError("body: expected raw images, found an empty body")
    return body[:length], memoryview(body)[length:]


def _input(
    value: Any, where: str, text: bytes, binary: memoryview, limits: Limits
) -> tuple[Tensor, int]:
    """One input, and how many of the binary data's bytes are its own."""
    if type(value) is not dict:
        raise ServeError(f"{where}: expected an object, found {kind(value)}")
    if not value.keys() <= _INPUT:
        _check_unknown(value, _INPUT, limits.json_depth - 3)
    name, datatype = _string(value, "name", where), _string(value, "datatype", where)
    dimensions = value.get("shape")
    if type(dimensions) is not list:
        raise ServeError(f"{where}.shape: expected an array, found {kind(dimensions)}")
    shape = check_shape(dimensions, where)
    parameters = _parameters(value, f"{where}.")
    size, data = parameters.get("binary_data_size"), value.get("data")
    if size is None:
        if "shared_memory_region" in parameters:
            raise ServeError(f"{where}: this server has no shared memory; send data")
        base64_text = parameters.get("content_type") == "base64"
        elements = from_json(data, datatype, shape, where, base64_text=base64_text, body=text)
        return Tensor(name, datatype, shape, elements, parameters), 0
    if data is not None:
        raise ServeError(f"{where}: expected data or binary_data_size, found both")
    if type(size) is not int or not 0 <= size <= len(binary):
        found = size if type(size) is int else kind(size)
        raise ServeError(
            f"{where}.parameters.binary_data_size: expected an integer from 0 to {len(binary)}, "
            f"the bytes that are left of the body, found {found}"
        )
    return Tensor(
        name, datatype, shape, from_raw(binary[:size], datatype, shape, where), parameters
    ), size


def _output(value: Any, where: str, by_default: bool, limits: Limits) -> RequestedOutput:
    if type(value) is not dict:
        raise ServeError(f"{where}: expected an object, found {kind(value)}")
    if not value.keys() <= _OUTPUT:
        _check_unknown(value, _OUTPUT, limits.json_depth - 3)
    name, parameters = _string(value, "name", where), _parameters(value, f"{where}.")
    if "shared_memory_region" in parameters:
        raise ServeError(f"{where}: this server has no shared memory")
    binary = _flag(parameters, "binary_data", f"{where}.parameters", default=by_default)
    return RequestedOutput(name, binary, classes(parameters, where))


def classes(parameters: dict[str, Parameter], where: str) -> int:
    """The value of an output's parameter ``classification``; 0 where it is not there.

    Raises:
        ServeError: It is no integer of at least 0.
    """
    count = parameters.get("classification", 0)
    if type(count) is not int or count < 0:
        raise ServeError(
            f"{where}.parameters.classification: expected an integer of at least 0, found "
            f"{count if type(count) is int else kind(count)}"
        )
    return count


def _string(value: dict[str, Any], key: str, where: str) -> str:
    text = value.get(key)
    if type(text) is not str:
        raise ServeError(f"{where}.{key}: expected a string, found {kind(text)}")
    return text


def _list(document: dict[str, Any], key: str) -> list[Any] | None:
    value = document.get(key)
    if value is not None and type(value) is not list:
        raise ServeError(f"{key}: expected an array, found {kind(value)}")
    return value


def _parameters(value: dict[str, Any], where: str) -> dict[str, Parameter]:
    parameters = value.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise ServeError(f"{where}parameters: expected an object, found {kind(parameters)}")
    for parameter in parameters.values():
        if type(parameter) not in (str, int, float, bool):
            raise ServeError(
                f"{where}parameters: expected strings, numbers and booleans, found "
                f"{kind(parameter)}"
            )
    return parameters


def _flag(parameters: dict[str, Parameter], key: str, where: str, *, default: bool) -> bool:
    value = parameters.get(key, default)
    if type(value) is not bool:
        raise ServeError(f"{where}.{key}: expected a boolean, found {kind(value)}")
    return value


def _check_unknown(value: dict[str, Any], known: frozenset[str], depth: int) -> None:
    """Refuse what is nested too deep in what the protocol does not know and nobody reads."""
    level = [value[key] for key in value.keys() - known]
    while level := [each for each in level if type(each) in (list, dict)]:
        depth -= 1
        if depth < 0:
            raise ServeError("body: expected fewer levels of brackets (--max-json-depth)")
        level = [
            inner for each in level for inner in (each.values() if type(each) is dict else each)
        ]
