"""What answers each path; all are functions of the service and the request."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from lenet_serve import documents
from lenet_serve.errors import Code, ServeError
from lenet_serve.http.context import Context
from lenet_serve.http.messages import Pending, Reply, Request, json_reply, names
from lenet_serve.protocol import rest
from lenet_serve.protocol.infer import InferRequest, InferResponse

_SLOW = 128 * 2**10  # bytes of a body that is decoded in a thread: up to here some 0.3 ms
_LENGTH = rest.LENGTH.encode()
_PROMETHEUS = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


def live(_: Context, __: Request) -> Reply:
    """Answer as long as the loop turns, whatever the models do."""
    return json_reply({"live": True})  # KServe's SDK reads it; Triton sends nothing


def ready(context: Context, _: Request) -> Reply:
    """Say whether requests should be sent here: 503 while draining, or while a model is missing."""
    if not context.service.ready:
        raise ServeError("server: it is not ready", Code.UNAVAILABLE, retry_after=1)
    return json_reply({"ready": True})


def server_metadata(context: Context, _: Request) -> Reply:
    """Tell the server's name, version and extensions."""
    return json_reply(context.service.metadata())


def model_ready(context: Context, request: Request) -> Reply:
    """Say whether a model answers."""
    model = context.service.repository.get(request.model, request.version)
    return json_reply({"name": model.name, "ready": True})


def metadata(context: Context, request: Request) -> Reply:
    """Tell a model's inputs and outputs."""
    return json_reply(context.service.model_metadata(request.model, request.version))


def config(context: Context, request: Request) -> Reply:
    """Tell a model's configuration."""
    return json_reply(context.service.repository.get(request.model, request.version).config())


def infer(context: Context, request: Request) -> Reply | Pending:
    """Answer an inference."""
    if len(request.body) > _SLOW:
        return Pending(context.threads.submit(_infer, context, request), lambda reply: reply)
    return _begin(context, request)


def _infer(context: Context, request: Request) -> Reply:
    reply = _begin(context, request)
    return reply.then(reply.future.result()) if isinstance(reply, Pending) else reply


def _begin(context: Context, request: Request) -> Reply | Pending:
    service = context.service
    length = request.headers.get(_LENGTH)
    tag, trace = names(request.headers)
    try:
        service.repository.get(request.model, request.version)  # before work on a body for nobody
        asked = rest.decode(
            request.model,
            request.version,
            request.body,
            None if length is None else length.decode("latin-1"),
            service.limits,
        )
    except ServeError as error:
        service.refused(
            request.model,
            request.version,
            protocol="http",
            code=error.code,
            total_ns=time.perf_counter_ns() - request.begun_ns,
            request=InferRequest(request.model, request.version, tag=tag, trace=trace),
        )
        raise
    asked.begun_ns, asked.tag, asked.trace = request.begun_ns, tag, trace

    def then(response: InferResponse) -> Reply:
        headers, body = rest.encode(response, asked)
        if asked.trace:
            headers.append((b"traceparent", asked.trace.encode()))
        return Reply(200, headers, body)

    answer = service.submit(asked)
    return Pending(answer, then) if isinstance(answer, Future) else then(answer)


def index(context: Context, request: Request) -> Reply:
    """List every version of every model, or with ``{"ready": true}`` those that are ready."""
    asked = _document(request)
    only_ready = asked.get("ready", False)
    if not isinstance(only_ready, bool):
        raise ServeError("ready: expected true or false, found something else")
    return json_reply(context.service.index(only_ready=only_ready))


def load(context: Context, request: Request) -> Pending:
    """Load a model, or what is new of it, in a thread."""
    parameters = _document(request).get("parameters", {})
    return _in_thread(context, context.service.load, request.model, parameters)


def unload(context: Context, request: Request) -> Pending:
    """Unload a model, once its requests are answered."""
    _document(request)
    return _in_thread(context, context.service.repository.unload, request.model)


def _in_thread(context: Context, function: Callable[..., None], *arguments: Any) -> Pending:
    return Pending(context.threads.submit(function, *arguments), lambda _: Reply(200, [], b""))


def _document(request: Request) -> dict[str, Any]:
    """The body as a JSON object; an empty one where there is no body."""
    return rest.parse(request.body) if request.body else {}


def statistics(context: Context, request: Request) -> Reply:
    """Tell a model's counts and times, or those of all models."""
    own = context.service.statistics(request.model, request.version)
    return json_reply({"model_stats": own})


def metrics(context: Context, _: Request) -> Reply:
    """Tell the metrics of all workers."""
    return Reply(200, [_PROMETHEUS], context.service.metrics.text())


def trace_setting(context: Context, request: Request) -> Reply:
    """Tell what is traced, in Triton's words."""
    if request.model:
        context.service.repository.get(request.model)
    return json_reply(documents.TRACE)


def log_setting(_: Context, __: Request) -> Reply:
    """Tell what is logged, in Triton's words."""
    return json_reply(documents.LOGGING)
