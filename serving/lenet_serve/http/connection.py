"""`Connection`: HTTP/1.1 for our own server, without what ASGI costs a request.

uvicorn accepts the connections and ends them, httptools parses; between them uvicorn's own protocol
makes a scope, a task and four events of each request. This one calls the application as soon as a
request is there whole, and writes its reply at once. Requests that a client sends ahead are
answered in their order.
"""

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass
from typing import Any

import httptools

from lenet_serve.errors import Code, ServeError
from lenet_serve.http.application import Application, too_full, too_slow
from lenet_serve.http.coding import too_large
from lenet_serve.http.messages import Headers, Pending, Reply, Request
from lenet_serve.http.routing import Route
from lenet_serve.http.wire import CLOSE, CONTINUE, target, written

_LOG = logging.getLogger("lenet_serve.http")
_LINGER = 1.0  # seconds for a client to read the reply to a request that it is still sending


@dataclass(slots=True)
class _Call:
    """One request on its way: to be answered by its route, or refused with `reply`."""

    request: Request | None = None
    route: Route | None = None
    reply: Reply | None = None
    body: bytes = b""
    closes: bool = False
    lingers: bool = False


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        application: What answers.
        server_state: uvicorn's: the set of open connections, and the headers of all replies.
        loop: The loop that the connection lives in.
    """

    def __init__(
        self, application: Application, server_state: Any, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._application, self._limits = application, application.limits
        self._state, self._loop = server_state, loop
        self._transport: Any = None
        self._parser: Any = httptools.HttpRequestParser(self)
        self._calls: deque[_Call] = deque()  # behind the one that is waited for
        self._waited: tuple[Pending, Request, _Call] | None = None
        self._call = _Call()  # the one that is being read
        self._url, self._headers = b"", Headers()
        self._body: bytes | bytearray = b""
        self._size = self._head_bytes = self._partial_bytes = self._messages = 0
        self._held = 0  # bytes of bodies, of the one that is being read and of those that wait
        self._in_head = self._reads = self._ignores = self._read_paused = self._write_paused = False
        self._since = loop.time()  # when the present state began

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        self._transport = transport
        self._state.connections.add(self)
        if len(self._state.connections) > self._limits.connections:
            most = f"{self._limits.connections} (--max-connections)"
            text = f"connections: expected at most {most}, found more"
            self._refuse(ServeError(text, Code.UNAVAILABLE, retry_after=1))

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop what nobody waits for any more."""
        self._state.connections.discard(self)
        self._ignores, self._body, self._parser = True, b"", None  # nothing waits for a collection
        self._calls.clear()
        self._hold(-self._held)
        if self._waited:
            self._waited[0].future.cancel()
            self._waited = None

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._ignores:
            return
        message = self._messages
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as any request, and the connection ends
        except httptools.HttpParserError as error:
            if isinstance(error, httptools.HttpParserCallbackError):
                _LOG.error("a connection failed", exc_info=error)
            self._refuse(ServeError("request: expected HTTP/1.1, found other bytes"))
        if self._in_head and self._messages in (message, 1):
            self._partial_bytes += len(data)  # of a header that has not come whole
            self._check_head(self._partial_bytes)
        if self._waited:
            self._read_or_not()

    def pause_writing(self) -> None:
        """Read no more from a client that does not read."""
        self._write_paused, self._since = True, self._loop.time()
        self._read_or_not()

    def resume_writing(self) -> None:
        """Go on."""
        self._write_paused, self._since = False, self._loop.time()
        self._read_or_not()

    # What uvicorn's server and ours call.

    def shutdown(self) -> None:
        """Close, once what is under way has been answered."""
        if self.is_idle:
            self._transport.close()

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return not (self._reads or self._waited or self._ignores or self._write_paused)

    def look(self, now: float) -> None:
        """Close the connection if it has been slow or idle for too long.

        Args:
            now: The loop's time.
        """
        waits = now - self._since
        if self._write_paused:
            if waits > self._limits.read_s:
                self._transport.abort()
        elif self._reads and not self._waited and not self._ignores:
            if waits > self._limits.read_s:
                self._refuse(too_slow(self._limits.read_s))
        elif self.is_idle and waits > self._limits.idle_s:
            self._transport.close()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url, self._headers, self._body = b"", [], b""
        self._size = self._head_bytes = self._partial_bytes = 0
        self._messages += 1
        self._in_head = self._reads = True
        self._since = self._loop.time()

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._url += url
        self._check_head(len(self._url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        self._headers.append((name.lower(), value))
        self._head_bytes += len(name) + len(value) + 4
        if not self._in_head:
            self._check_head(self._head_bytes)

    def on_headers_complete(self) -> None:
        """Refuse what will not be answered, before its body is read."""
        self._in_head = False
        self._check_head(len(self._url) + self._head_bytes)
        if self._ignores:
            return
        parser = self._parser
        version = parser.get_http_version()
        self._call = call = _Call()
        call.closes = version == "1.0" or not parser.should_keep_alive() or parser.should_upgrade()
        method = parser.get_method().decode("latin-1")
        path, _, query = target(self._url)
        try:
            call.route, call.request = self._application.begin(method, path, query, self._headers)
        except ServeError as error:
            call.reply, closes = self._application.refuse_early(error, method, self._headers)
            if closes:  # its body, which is not read
                call.closes = call.lingers = True
                self._ignores = True
                self._enqueue(call)
        else:
            expected = call.request.headers.get(b"expect", b"")
            if expected.lower() == b"100-continue" and version != "1.0" and not self._waited:
                self._transport.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._ignores:
            return
        self._size += len(body)
        self._hold(len(body))
        if self._size > self._limits.body_bytes:
            self._refuse(too_large(self._limits.body_bytes))
        elif self._application.context.held_bytes > self._limits.received_bytes:
            self._refuse(too_full())  # others' lengths were promised when nothing was held yet
        elif isinstance(self._body, bytearray):
            self._body += body
        else:
            self._body = bytearray(self._body + body) if self._body else body

    def on_message_complete(self) -> None:
        """Answer a request that is there whole."""
        if self._ignores:
            return
        self._reads = False
        call, body = self._call, self._body
        self._call, self._body = _Call(), b""  # while it idles it holds no body
        call.body = bytes(body)
        self._enqueue(call)

    def _check_head(self, size: int) -> None:
        if size > self._limits.header_bytes:
            most = f"{self._limits.header_bytes} bytes (--max-headers)"
            text = f"headers: expected at most {most}, found more"
            self._refuse(ServeError(text, Code.HEADERS_TOO_LARGE))

    def _refuse(self, error: ServeError) -> None:
        """Tell what is wrong, after what was asked before, and close."""
        if self._ignores:
            return
        self._ignores, self._body = True, b""
        reply, _ = self._application.refuse_early(error, "GET", [])
        self._enqueue(_Call(reply=reply, closes=True, lingers=True))

    def _enqueue(self, call: _Call) -> None:
        if self._waited:
            self._calls.append(call)
        else:
            self._run(call)

    def _run(self, call: _Call) -> None:
        reply = call.reply
        if reply is None:
            assert call.route is not None
            assert call.request is not None
            answer = self._application.answer(call.route, call.request, call.body)
            if isinstance(answer, Pending):
                self._waited = answer, call.request, call
                answer.future.add_done_callback(self._wake)
                return
            self._hold(-len(call.body))
            reply = answer
        self._write(reply, call)

    def _wake(self, _: object) -> None:
        """Go on in the loop's thread; called in the one that computed."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if self._waited is None:  # the client has gone
            return
        (pending, request, call), self._waited = self._waited, None
        self._hold(-len(call.body))
        self._write(self._application.finish(pending, request), call)
        while self._calls and not self._waited:
            self._run(self._calls.popleft())
        self._read_or_not()

    def _read_or_not(self) -> None:
        """Read on, unless replies are not read, or requests were sent ahead.

        A client that waits for a reply is read from: that is how its hanging up is heard of.
        """
        sent_ahead = self._waited is not None and (bool(self._calls) or self._reads)
        pauses = self._write_paused or sent_ahead
        if pauses != self._read_paused and not self._transport.is_closing():
            self._read_paused = pauses
            if pauses:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _write(self, reply: Reply, call: _Call) -> None:
        closes = call.closes or reply.headers[-1] == CLOSE  # the application is about to end
        self._transport.write(written(reply, self._state.default_headers, closes))
        self._since = self._loop.time()
        if closes:
            self._ignores = True
            self._calls.clear()
            self._end(call.lingers)

    def _end(self, lingers: bool) -> None:
        """Close; with data unread the kernel would throw the reply away, so that is read first."""
        if not lingers or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        self._loop.call_later(_LINGER, self._transport.close)

    def _hold(self, size: int) -> None:
        self._held += size
        self._application.context.held_bytes += size
