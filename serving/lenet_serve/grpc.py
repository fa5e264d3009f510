"""gRPC's server: the calls, health and reflection on grpcio, its threads and its drain.

grpcio's server with threads costs a third less than the one for asyncio. Bytes go in and out of it:
no generated code, no registration in the process's descriptor pool.
"""

import hmac
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc

from lenet_serve import health, rpc
from lenet_serve.errors import Code, ServeError, translated
from lenet_serve.protocol import reflection
from lenet_serve.protocol.messages import METHODS, message_class, parse
from lenet_serve.service import Service

if TYPE_CHECKING:
    from lenet_serve.server import ServerOptions

_STREAM_INFER = f"{rpc.PREFIX}ModelStreamInfer"
_STREAM_ANSWER = message_class("inference.ModelStreamInferResponse")
# What may be asked without the token: probes cannot send one.
_OPEN = (health.PREFIX, f"{rpc.PREFIX}ServerLive", f"{rpc.PREFIX}ServerReady")
_STREAMS = 32  # open streams of one process, each of which takes a thread
_QUIET_S, _HOLD_S = 0.03, 0.3
_BUSY = ServeError(
    f"expected at most {_STREAMS} open streams, found more", Code.UNAVAILABLE, retry_after=1
)


class GrpcServer:
    """Answers gRPC on one address.

    Args:
        service: Who answers.
        address: Where it listens: ``127.0.0.1:8001``, ``[::1]:0`` or ``unix:/run/lenet.sock``.
        tls: The certificate's chain and the private key, in PEM; None for neither.
        token: What each call's metadata must have as ``authorization: Bearer TOKEN``; None asks
            for none.
        threads: Calls that are computed, or wait for a batch, at a time.
        reuse_port: Whether other processes may listen on the same port, to share its connections.
    """

    def __init__(
        self,
        service: Service,
        address: str = "127.0.0.1:8001",
        *,
        tls: tuple[bytes, bytes] | None = None,
        token: str | None = None,
        threads: int = 4,
        reuse_port: bool = False,
    ) -> None:
        self._address, self._tls = address, tls
        self._handlers = _Handlers(service, token)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="grpc")
        limits = service.limits
        self._server = grpc.server(
            self._pool,
            handlers=(self._handlers,),
            options=[
                # Twice what is accepted: what lies between is refused with the option's name.
                ("grpc.max_receive_message_length", 2 * limits.body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", limits.header_bytes),
                ("grpc.absolute_max_metadata_size", limits.header_bytes),
                ("grpc.so_reuseport", int(reuse_port)),
            ],
        )

    @classmethod
    def of(cls, service: Service, options: "ServerOptions") -> "GrpcServer":
        """Make it as a server's options have it.

        Raises:
            OSError: A file of TLS cannot be read.
        """
        host = f"[{options.host}]" if ":" in options.host else options.host
        tls = None
        if options.tls_cert and options.tls_key:
            tls = options.tls_cert.read_bytes(), options.tls_key.read_bytes()
        return cls(
            service,
            f"{host}:{options.grpc_port}",
            tls=tls,
            token=options.token,
            reuse_port=options.reuse_port,
        )

    def start(self) -> int:
        """Listen and begin to answer.

        Returns:
            The port; for a Unix socket a number without meaning.

        Raises:
            OSError: Nothing can listen there.
        """
        try:
            if self._tls is None:
                port = self._server.add_insecure_port(self._address)
            else:
                chain, key = self._tls
                credentials = grpc.ssl_server_credentials([(key, chain)])
                port = self._server.add_secure_port(self._address, credentials)
        except RuntimeError as error:
            raise OSError(f"gRPC: cannot listen on {self._address}: {error}") from error
        self._server.start()
        return int(port)

    def drain(self) -> None:
        """Say to those who ask for health that this server no longer serves; go on answering."""
        self._handlers.health.drain()

    def stop(self, seconds: float) -> None:
        """Stop without losing a call, and return when that is done.

        grpcio cancels what arrives between the moment in which it stops and the one in which the
        client hears of it. So answers are held until nothing arrives any more: whoever waits for an
        answer sends nothing; then it stops, and the answers go out behind the news.

        Args:
            seconds: How long calls that are being answered may go on, before they are cancelled.
        """
        self.drain()
        self._handlers.hold()
        stopped = self._server.stop(seconds)
        self._handlers.release()
        stopped.wait()
        self._pool.shutdown()


Answer = Callable[[bytes, grpc.ServicerContext], bytes]


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds who answers a call.

    Args:
        service: Who answers inference.
        token: See `GrpcServer`.
    """

    def __init__(self, service: Service, token: str | None) -> None:
        self.health = health.Health(service)
        self._service = service
        self._expected = None if token is None else f"Bearer {token}".encode()
        # Four threads more, to say so to the stream that is too much.
        self._streams = ThreadPoolExecutor(_STREAMS + 4, thread_name_prefix="grpc-stream")
        self._free = threading.Semaphore(_STREAMS)
        self._arrived = 0  # calls, all that ever came
        self._gate: threading.Event | None = None
        self._by_path = {path: self._handler(path) for path in METHODS}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
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

    def _handler(self, path: str) -> grpc.RpcMethodHandler:
        if path == f"{health.PREFIX}Check":
            return self._unary(lambda body, context: self.health.check(body))
        if path == f"{health.PREFIX}Watch":
            return self._watch()
        if path == _STREAM_INFER:
            return self._stream(self._infer_one)
        if path.startswith(rpc.PREFIX):
            method = path.removeprefix(rpc.PREFIX)
            return self._unary(lambda body, context: self._answer(method, body, context))
        return self._stream(
            lambda body, context: reflection.reflect(path, parse(METHODS[path].request, body))
        )

    def _answer(self, method: str, body: bytes, context: grpc.ServicerContext) -> bytes:
        left = context.time_remaining()
        if not context.is_active():  # who called has gone
            return b""
        limit = self._service.limits.body_bytes
        if len(body) > limit:
            raise ServeError(
                f"body: expected at most {limit} bytes (--max-body), found {len(body)}",
                Code.TOO_LARGE,
            )
        deadline = None if left is None else time.monotonic() + left
        metadata = context.invocation_metadata()
        return rpc.answer(self._service, method, body, deadline, metadata)

    def _infer_one(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        answer = _STREAM_ANSWER()
        try:
            answer.infer_response.ParseFromString(self._answer("ModelInfer", body, context))
        except ServeError as error:  # of this request alone; the stream goes on
            answer.error_message = str(error)
        return answer.SerializeToString()  # type: ignore[no-any-return]

    def _unary(self, one: Answer) -> grpc.RpcMethodHandler:
        def behavior(body: bytes, context: grpc.ServicerContext) -> bytes:
            if self._gate is not None:
                self._wait(context)
            return _guarded(one, body, context)

        return grpc.unary_unary_rpc_method_handler(behavior)

    def _wait(self, context: grpc.ServicerContext) -> None:
        left = context.time_remaining()
        if self._gate is not None and (left is None or left > 2 * _HOLD_S):
            self._gate.wait(2 * _HOLD_S)

    def _stream(self, one: Answer) -> grpc.RpcMethodHandler:
        """Answer each message of a stream by one."""

        def behavior(bodies: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            if not self._free.acquire(blocking=False):
                _abort(context, _BUSY)
            try:
                for body in bodies:
                    yield _guarded(one, body, context)
            finally:
                self._free.release()

        behavior.experimental_thread_pool = self._streams  # type: ignore[attr-defined]
        return grpc.stream_stream_rpc_method_handler(behavior)

    def _watch(self) -> grpc.RpcMethodHandler:
        def behavior(body: bytes, context: grpc.ServicerContext, send: health.Send) -> None:
            context.add_callback(lambda: self.health.forget(send))
            self.health.watch(body, send)

        # grpcio's own health service has it so: a watch takes no thread.
        behavior.experimental_non_blocking = True  # type: ignore[attr-defined]
        return grpc.unary_stream_rpc_method_handler(behavior)


def _abort(context: grpc.ServicerContext, error: ServeError) -> None:
    if error.retry_after is not None:
        pushback = str(1000 * error.retry_after)
        context.set_trailing_metadata((("grpc-retry-pushback-ms", pushback),))
    context.abort(grpc.StatusCode[error.code.grpc], str(error))


def _refusal(message: str, code: Code) -> grpc.RpcMethodHandler:
    def refuse(body: Any, context: grpc.ServicerContext) -> bytes:
        _abort(context, ServeError(message, code))
        return b""

    return grpc.unary_unary_rpc_method_handler(refuse)


def _guarded(answer: Answer, body: bytes, context: grpc.ServicerContext) -> bytes:
    """Answer, or end the call with a status."""
    try:
        return answer(body, context)
    except Exception as error:
        _abort(context, translated(error))
    return b""
