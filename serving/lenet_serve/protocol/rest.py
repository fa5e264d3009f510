"""V2's REST bodies: JSON, and binary tensors behind a JSON header."""

from array import array
from typing import Any

import numpy as np
import orjson

from lenet_serve.errors import ServeError
from lenet_serve.limits import Limits
from lenet_serve.protocol.infer import DTYPES, InferRequest, InferResponse, RequestedOutput, Tensor

LENGTH = "inference-header-content-length"
Headers = list[tuple[bytes, bytes]]


def decode(
    model: str, version: str, body: bytes, header_length: str | None, limits: Limits
) -> InferRequest:
    """Read the body of ``POST /v2/models/MODEL[/versions/VERSION]/infer``.

    Args:
        model, version: As the path names them; version is empty where it names none.
        body: The body, inflated.
        header_length: The value of the header `LENGTH`; None where it was not sent.
        limits: Bounds of what is accepted.

    Raises:
        ServeError: The body is malformed, or beyond the limits.
    """
    try:
        document = orjson.loads(body)
        inputs = [
            Tensor(t["name"], t["datatype"], tuple(t["shape"]), _elements(t))
            for t in document["inputs"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ServeError(f"body: expected a V2 inference request as JSON, found {error}") from error
    outputs = [RequestedOutput(o["name"]) for o in document.get("outputs", ())]
    return InferRequest(
        model, version, document.get("id", ""), document.get("parameters", {}), inputs, outputs
    )


def _elements(tensor: dict[str, Any]) -> Any:
    dtype = DTYPES[tensor["datatype"]]
    flat = array("f", tensor["data"]) if dtype == np.float32 else tensor["data"]
    return np.asarray(flat, dtype).reshape(tensor["shape"])


def encode(response: InferResponse, request: InferRequest) -> tuple[Headers, bytes]:
    """Write the answer's headers and body."""
    outputs = [
        {"name": t.name, "datatype": t.datatype, "shape": t.shape, "data": np.ravel(t.data)}
        for t in response.outputs
    ]
    document: dict[str, Any] = {"model_name": response.model, "model_version": response.version}
    if response.id:
        document["id"] = response.id
    body = orjson.dumps(document | {"outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    return [(b"content-type", b"application/json")], body
