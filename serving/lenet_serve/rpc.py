"""gRPC's calls: a method's name and a message's bytes in, a message's bytes out; no network."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from google.protobuf.json_format import ParseDict

from lenet_serve import documents, tracing
from lenet_serve.calls import waited
from lenet_serve.errors import Code, ServeError
from lenet_serve.protocol import grpc as codec
from lenet_serve.protocol.infer import InferRequest
from lenet_serve.protocol.messages import METHODS, Message, parse
from lenet_serve.service import Service

PREFIX = "/inference.GRPCInferenceService/"
Document = Mapping[str, Any]


def answer(service: Service, method: str, body: bytes, deadline: float | None = None) -> bytes:
    """Answer one call of ``inference.GRPCInferenceService``, all but its stream.

    Args:
        service: What answers.
        method: The method's name, such as ``ModelInfer``.
        body: The method's request, serialized.
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


def infer(
    service: Service,
    body: bytes,
    deadline: float | None = None,
    *,
    trace: str = "",
    tag: str = "",
    on_wait: Callable[[Future[Any]], object] = lambda future: None,
) -> bytes:
    """Answer a serialized ``ModelInferRequest``.

    Args:
        service, body, deadline: See `answer`.
        trace, tag: W3C's ``traceparent`` and ``x-request-id``, as they came; empty for none.
        on_wait: Called with the future of an inference that takes its time; whoever cancels it
            spares the work.

    Raises:
        ServeError: The request is refused, or cancelled.
    """
    begun_ns = time.perf_counter_ns()
    trace = tracing.parse(trace) if trace else ""
    try:
        request = codec.decode(body)
        _check_version(request.version)
    except ServeError as error:
        took = time.perf_counter_ns() - begun_ns
        named = InferRequest("", tag=tag, trace=trace)
        service.refused("", "", protocol="grpc", code=error.code, total_ns=took, request=named)
        raise
    request.protocol, request.begun_ns = "grpc", begun_ns
    request.tag, request.trace = tag, trace
    response = service.submit(request, deadline)
    if isinstance(response, Future):
        on_wait(response)
        response = waited(response, deadline)
    return codec.encode(response)


def _check_version(version: str) -> None:
    """Refuse a version that is no number: malformed rather than unknown, as Triton has it."""
    if version and not (version.isascii() and version.isdigit()):
        raise ServeError("model version: expected a number, found something else")


def _check_repository(request: Message) -> None:
    if request.repository_name:
        raise ServeError("repository_name: expected none; there is one", Code.UNIMPLEMENTED)


def _model_ready(service: Service, request: Message) -> Document:
    _check_version(request.version)
    try:
        service.repository.get(request.name, request.version)
    except ServeError:
        return {"ready": False}
    return {"ready": True}


def _metadata(service: Service, request: Message) -> Document:
    _check_version(request.version)
    return service.model_metadata(request.name, request.version)


def _config(service: Service, request: Message) -> Document:
    _check_version(request.version)
    return {"config": service.repository.get(request.name, request.version).config()}


def _statistics(service: Service, request: Message) -> Document:
    _check_version(request.version)
    return {"model_stats": service.statistics(request.name, request.version)}


def _index(service: Service, request: Message) -> Document:
    _check_repository(request)
    return {"models": service.index(only_ready=request.ready)}


def _load(service: Service, request: Message) -> Document:
    _check_repository(request)
    service.load(request.model_name, request.parameters)
    return {}


def _unload(service: Service, request: Message) -> Document:
    _check_repository(request)
    service.repository.unload(request.model_name)
    return {}


def _trace(service: Service, request: Message) -> Document:
    if any(setting.value for setting in request.settings.values()):
        raise ServeError("settings: expected none; nothing here changes them", Code.UNIMPLEMENTED)
    if request.model_name:
        service.repository.get(request.model_name)
    settings = {
        name: {"value": [value] if isinstance(value, str) else value}
        for name, value in documents.TRACE.items()
    }
    return {"settings": settings}


def _log(service: Service, request: Message) -> Document:
    if request.settings:
        raise ServeError("settings: expected none; nothing here changes them", Code.UNIMPLEMENTED)
    kinds = {bool: "bool_param", int: "uint32_param", str: "string_param"}
    settings = {name: {kinds[type(value)]: value} for name, value in documents.LOGGING.items()}
    return {"settings": settings}


_CALLS: dict[str, Callable[[Service, Message], Document]] = {
    "ServerLive": lambda service, request: {"live": True},
    "ServerReady": lambda service, request: {"ready": service.ready},
    "ServerMetadata": lambda service, request: service.metadata(),
    "ModelReady": _model_ready,
    "ModelMetadata": _metadata,
    "ModelConfig": _config,
    "ModelStatistics": _statistics,
    "RepositoryIndex": _index,
    "RepositoryModelLoad": _load,
    "RepositoryModelUnload": _unload,
    # There is no shared memory here, so that no client's memory is ever mapped.
    "SystemSharedMemoryStatus": lambda service, request: {},
    "CudaSharedMemoryStatus": lambda service, request: {},
    "TraceSetting": _trace,
    "LogSettings": _log,
}
