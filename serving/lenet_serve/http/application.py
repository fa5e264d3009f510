"""`Application`: what is answered to a request, whoever carries it."""

import hmac
import time

from lenet_serve.errors import Code, ServeError, translated
from lenet_serve.http.coding import check_coding, gzipped, inflate, too_large
from lenet_serve.http.context import Context
from lenet_serve.http.messages import Headers, Pending, Reply, Request, error_reply, names
from lenet_serve.http.routes import ROUTES
from lenet_serve.http.routing import Route, Table
from lenet_serve.protocol.infer import InferRequest
from lenet_serve.service import Service

_TABLE = Table(ROUTES)


class Application:
    """Answers requests; the carrier calls `begin`, reads the body, and calls `answer`.

    Args:
        service: What answers inferences.
        token: What clients must show as ``Authorization: Bearer TOKEN``; None asks for nothing.

    Attributes:
        context: What endpoints know.
        limits: The service's limits.
    """

    def __init__(self, service: Service, token: str | None = None) -> None:
        self.context = Context(service)
        self.limits = service.limits
        self._token = None if token is None else f"bearer {token}".encode()

    def begin(
        self, method: str, path: bytes, query: bytes, headers: Headers
    ) -> tuple[Route, Request]:
        """Find what answers a request, once its headers are there.

        Args:
            method: HTTP's method.
            path: The path as it was sent, percent signs and all.
            query: What followed the question mark.
            headers: The headers, their names in lower case.

        Raises:
            ServeError: It will not be answered, whatever its body is.
        """
        own = dict(headers)
        try:
            route, model, version = _TABLE.find(path)
        except ServeError:
            self._check_token(own)  # who has none learns nothing
            raise
        if self._token and not route.is_public:
            self._check_token(own)
        if method not in route.allowed:
            raise ServeError(
                f"method: expected {' or '.join(route.allowed)}, found {method}",
                Code.METHOD_NOT_ALLOWED,
                allow=route.allowed,
            )
        if b"content-encoding" in own:
            check_coding(own[b"content-encoding"])
        if (length := own.get(b"content-length")) is not None:
            if not length.isdigit() or len(length) > 20:
                raise ServeError("Content-Length: expected a number, found another text")
            if int(length) > self.limits.body_bytes:
                raise too_large(self.limits.body_bytes)
            if self.context.held_bytes + int(length) > self.limits.received_bytes:
                raise too_full()
        return route, Request(method, own, query, model, version)

    def answer(self, route: Route, request: Request, body: bytes) -> Reply | Pending:
        """Answer a request with its whole body; never raises.

        Of a `Pending` the carrier hands the future, once it is done, to `finish`.
        """
        try:
            request.begun_ns = time.perf_counter_ns()
            if not body or b"content-encoding" in request.headers:
                body = self._checked(route, request, body)
            request.body = body
            reply = route.handler(self.context, request)
        except Exception as error:
            reply = error_reply(translated(error))
        return reply if isinstance(reply, Pending) else self._seal(reply, request)

    def _checked(self, route: Route, request: Request, body: bytes) -> bytes:
        try:
            if route.needs_body and not body and not _has_length(request.headers):
                raise ServeError(
                    "body: expected one, and a Content-Length, found neither", Code.LENGTH_REQUIRED
                )
            coding = request.headers.get(b"content-encoding")
            return inflate(body, coding, self.limits.body_bytes) if coding else body
        except ServeError as error:
            self._count(error, request.method, request.headers)
            raise

    def _count(self, error: ServeError, method: str, headers: dict[bytes, bytes]) -> None:
        """Count and log what no endpoint saw, if it may have been an inference."""
        if method == "POST":
            tag, trace = names(headers)
            self.context.service.refused(
                "", "", protocol="http", code=error.code,
                request=InferRequest("", tag=tag, trace=trace),
            )  # fmt: skip

    def finish(self, pending: Pending, request: Request) -> Reply:
        """Make the reply of a future that is done; never raises."""
        try:
            reply = pending.then(pending.future.result())
        except Exception as error:
            reply = error_reply(translated(error))
        return self._seal(reply, request)

    def refuse_early(self, error: ServeError, method: str, headers: Headers) -> tuple[Reply, bool]:
        """The reply to a request whose body has not been read, and whether it has one."""
        own = dict(headers)
        self._count(error, method, own)
        has_body = own.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in own
        refusal = Request(method, {}, b"")  # which accepts no coding
        return self._seal(error_reply(translated(error)), refusal), has_body

    def _check_token(self, headers: dict[bytes, bytes]) -> None:
        if self._token is None:
            return
        kind, _, shown = headers.get(b"authorization", b"").partition(b" ")
        given = kind.lower() + b" " + shown.strip()
        if not hmac.compare_digest(given, self._token):
            raise ServeError(
                "Authorization: expected Bearer and this server's token", Code.UNAUTHENTICATED
            )

    def _seal(self, reply: Reply, request: Request) -> Reply:
        """Compress where that is asked for, say the length, and whether this is about to end."""
        body, headers = reply.body, reply.headers
        accepted = request.headers.get(b"accept-encoding")
        if accepted and (smaller := gzipped(body, accepted)) is not None:
            body = smaller
            headers += (b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")
        headers.append((b"content-length", b"%d" % len(body)))
        if self.context.service.draining:
            headers.append((b"connection", b"close"))
        if request.method == "HEAD":
            body = b""
        return reply if body is reply.body else Reply(reply.status, headers, body)


def _has_length(headers: dict[bytes, bytes]) -> bool:
    return b"content-length" in headers or b"transfer-encoding" in headers


def too_slow(seconds: float) -> ServeError:
    """The error of a request that did not come whole in time."""
    return ServeError(
        f"request: expected it whole within {seconds:g} s (--read-timeout)", Code.TOO_SLOW
    )


def too_full() -> ServeError:
    """The error of a body beyond what all bodies together may hold."""
    text = "server: it is receiving as much as it may hold (--read-memory)"
    return ServeError(text, Code.UNAVAILABLE, retry_after=1)
