"""gRPC's calls: a method's name and a message's bytes in, a message's bytes out; no network."""

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.json_format import ParseDict

from lenet_serve.errors import Code, ServeError
from lenet_serve.protocol import grpc as codec
from lenet_serve.protocol.messages import METHODS, Message, parse
from lenet_serve.service import Service

PREFIX = "/inference.GRPCInferenceService/"
Document = Mapping[str, Any]


def answer(service: Service, method: str, body: bytes, deadline: float | None = None) -> bytes:
    """Answer one call of ``inference.GRPCInferenceService``, all but its streams.

    Args:
        service: Who answers.
        method: The method's name, such as ``ModelInfer``.
        body: Its request, serialized.
        deadline: The moment of `time.monotonic` after which nobody waits for the answer; None for
            none.

    Returns:
        The method's response, serialized.

    Raises:
        ServeError: The request is refused.
    """
    if method == "ModelInfer":
        return infer(service, body, deadline)
    call = _CALLS.get(method)
    if call is None:
        raise ServeError(
            f"method: expected one of {', '.join(['ModelInfer', *_CALLS])}, found {method!r}",
            Code.UNIMPLEMENTED,
        )
    messages = METHODS[PREFIX + method]
    response = ParseDict(call(service, parse(messages.request, body)), messages.response())
    return response.SerializeToString()  # type: ignore[no-any-return]


def infer(service: Service, body: bytes, deadline: float | None = None) -> bytes:
    """Answer a serialized ``ModelInferRequest``; see `answer`."""
    request = codec.decode(body)
    check_version(request.version)
    return codec.encode(service.infer(request, deadline))


def check_version(version: str) -> None:
    """Refuse a version that is no number: malformed rather than unknown, as Triton has it.

    Raises:
        ServeError: It is none.
    """
    if version and not (version.isascii() and version.isdigit()):
        raise ServeError(f"model version: expected a number, found {version!r}")


def _model_ready(service: Service, request: Message) -> Document:
    check_version(request.version)
    try:
        service.model(request.name, request.version)
    except ServeError:
        return {"ready": False}
    return {"ready": True}


def _metadata(service: Service, request: Message) -> Document:
    check_version(request.version)
    return service.model(request.name, request.version).metadata()


def _config(service: Service, request: Message) -> Document:
    check_version(request.version)
    return {"config": service.model(request.name, request.version).config()}


_CALLS: dict[str, Callable[[Service, Message], Document]] = {
    "ServerLive": lambda service, request: {"live": True},
    "ServerReady": lambda service, request: {"ready": service.ready},
    "ModelReady": _model_ready,
    "ModelMetadata": _metadata,
    "ModelConfig": _config,
}
