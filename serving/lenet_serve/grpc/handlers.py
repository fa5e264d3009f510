"""Who answers each method of gRPC, and what becomes of errors."""

import hmac
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc

from lenet_serve import health, rpc
from lenet_serve.errors import Code, ServeError, translated
from lenet_serve.protocol import reflection
from lenet_serve.protocol.messages import METHODS, message_class, parse
from lenet_serve.service import Service

_INFER, _STREAM_INFER = f"{rpc.PREFIX}ModelInfer", f"{rpc.PREFIX}ModelStreamInfer"
_STREAM_ANSWER = message_class("inference.ModelStreamInferResponse")
# What may be asked without the token: probes cannot send one.
_OPEN = (health.PREFIX, f"{rpc.PREFIX}ServerLive", f"{rpc.PREFIX}ServerReady")
_STREAMS = 32  # open streams of one process, each of which takes a thread
_QUIET_S, _HOLD_S = 0.05, 0.5
_FOREVER_S = 1e6
_LONGEST = 1000  # characters of what a client is told, since it may have written them
_BUSY = ServeError(
    f"expected at most {_STREAMS} open streams, found more", Code.UNAVAILABLE, retry_after=1
)


Answer = Callable[[bytes, grpc.ServicerContext], bytes]


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds who answers a call.

    Args:
        service: Who answers inference.
        token: See `lenet_serve.grpc.GrpcServer`.
        on_wait: Called before a call waits for a batch.
    """

    def __init__(
        self, service: Service, token: str | None, on_wait: Callable[[], object] = lambda: None
    ) -> None:
        self.health = health.Health(service)
        self._service, self._on_wait = service, on_wait
        self._expected = None if token is None else f"Bearer {token}".encode()
        # Four threads more, to say so to the stream that is too much.
        self._streams = ThreadPoolExecutor(_STREAMS + 4, thread_name_prefix="grpc-stream")
        self._free = threading.Semaphore(_STREAMS)
        self._arrived = 0  # calls, all that ever came
        self._gate: threading.Event | None = None
        self._reading: dict[grpc.ServicerContext, float] = {}  # since when
        self._by_path = {path: self._handler(path) for path in METHODS}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Find the handler of a call; see `grpc.GenericRpcHandler.service`."""
        self._arrived += 1
        path = details.method
        if self._expected is not None and not path.startswith(_OPEN):
            found = dict(details.invocation_metadata).get("authorization", "")
            if not hmac.compare_digest(found.encode(), self._expected):
                return _refusal(
                    "authorization: expected Bearer and the server's token", Code.UNAUTHENTICATED
                )
        handler = self._by_path.get(path)
        if handler is None and path.startswith(rpc.PREFIX):
            return self._handler(path)
        return handler

    def look(self) -> None:
        """Cancel calls whose message has not come whole in time, as they hold a thread each."""
        end = time.monotonic() - self._service.limits.read_s
        for context, since in list(self._reading.items()):
            if since < end:
                context.cancel()

    def hold(self) -> None:
        """Hold answers back until no call arrives any more, at most `_HOLD_S`."""
        self._gate = threading.Event()
        end, before = time.monotonic() + _HOLD_S, -1
        while self._arrived != before and time.monotonic() < end:
            before = self._arrived
            time.sleep(_QUIET_S)

    def release(self) -> None:
        """Let answers go, and end what would go on for ever."""
        if self._gate is not None:
            self._gate.set()
        self.health.close()

    def close(self) -> None:
        """End the threads of streams."""
        self._streams.shutdown(wait=False)

    def _handler(self, path: str) -> grpc.RpcMethodHandler:
        if path == f"{health.PREFIX}Check":
            return self._unary(lambda body, context: self.health.check(body))
        if path == f"{health.PREFIX}Watch":
            return self._watch()
        if path == _INFER:
            return self._unary(self._infer)
        if path == _STREAM_INFER:
            return self._stream(self._infer_one)
        if path.startswith(rpc.PREFIX):
            method = path.removeprefix(rpc.PREFIX)
            return self._unary(lambda body, context: rpc.answer(self._service, method, body))
        return self._stream(
            lambda body, context: reflection.reflect(path, parse(METHODS[path].request, body))
        )

    def _unary(self, one: Answer) -> grpc.RpcMethodHandler:
        """Answer the only message of a call.

        To grpcio it is a stream of one: so a context is there while the message still comes.
        """

        def behavior(bodies: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            try:
                body = self._read(bodies, context)
                if self._gate is not None:
                    self._wait(context)
                if context.is_active():  # else who called has gone
                    return one(body, context)
            except grpc.RpcError:  # cancelled
                raise
            except Exception as error:
                _abort(context, translated(error))
            return b""

        return grpc.stream_unary_rpc_method_handler(behavior)

    def _read(self, bodies: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        self._reading[context] = time.monotonic()
        try:
            body = next(bodies)
        except StopIteration:
            raise ServeError("call: expected a message, found none") from None
        finally:
            del self._reading[context]
        return body

    def _wait(self, context: grpc.ServicerContext) -> None:
        left = context.time_remaining()
        if self._gate is not None and (left is None or left > _HOLD_S + 2 * _QUIET_S):
            self._gate.wait(2 * _HOLD_S)

    def _infer(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        limit = self._service.limits.body_bytes
        if len(body) > limit:
            raise ServeError(
                f"body: expected at most {limit} bytes (--max-body), found {len(body)}",
                Code.TOO_LARGE,
            )
        left = context.time_remaining()
        # Where a client names no deadline, grpcio says one of centuries.
        deadline = None if left is None or left > _FOREVER_S else time.monotonic() + left
        metadata = dict(context.invocation_metadata())
        trace, tag = metadata.get("traceparent", ""), metadata.get("x-request-id", "")

        def on_wait(future: Future[Any]) -> None:
            self._on_wait()
            if not context.add_callback(future.cancel):  # the client has gone already
                future.cancel()

        return rpc.infer(self._service, body, deadline, trace=trace, tag=tag, on_wait=on_wait)

    def _infer_one(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        """Answer one message of a stream; an error is of this one alone."""
        answer = _STREAM_ANSWER()
        try:
            answer.infer_response.ParseFromString(self._infer(body, context))
        except Exception as error:
            answer.error_message = str(translated(error))
        return answer.SerializeToString()  # type: ignore[no-any-return]

    def _stream(self, one: Answer) -> grpc.RpcMethodHandler:
        """Answer each message of a stream by one."""

        def behavior(bodies: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            if not self._free.acquire(blocking=False):
                _abort(context, _BUSY)
            try:
                for body in bodies:
                    yield one(body, context)
            except ServeError as error:
                _abort(context, error)
            finally:
                self._free.release()

        behavior.experimental_thread_pool = self._streams  # type: ignore[attr-defined]
        return grpc.stream_stream_rpc_method_handler(behavior)

    def _watch(self) -> grpc.RpcMethodHandler:
        def behavior(body: bytes, context: grpc.ServicerContext, send: health.Send) -> None:
            context.add_callback(lambda: self.health.forget(send))
            try:
                self.health.watch(body, send)
            except ServeError as error:
                _abort(context, error)

        # grpcio's own health service has it so: a watch takes no thread.
        behavior.experimental_non_blocking = True  # type: ignore[attr-defined]
        return grpc.unary_stream_rpc_method_handler(behavior)


def _abort(context: grpc.ServicerContext, error: ServeError) -> None:
    if error.retry_after is not None:
        pushback = str(1000 * error.retry_after)
        context.set_trailing_metadata((("grpc-retry-pushback-ms", pushback),))
    context.abort(grpc.StatusCode[error.code.grpc], str(error)[:_LONGEST])


def _refusal(message: str, code: Code) -> grpc.RpcMethodHandler:
    def refuse(bodies: Any, context: grpc.ServicerContext) -> bytes:
        _abort(context, ServeError(message, code))
        return b""

    return grpc.stream_unary_rpc_method_handler(refuse)
