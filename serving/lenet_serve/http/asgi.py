"""The REST side as an ASGI application, for any server and for mounting in another application."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote, unquote

from lenet_serve.errors import ServeError
from lenet_serve.http.application import Application, too_slow
from lenet_serve.http.coding import too_large
from lenet_serve.http.messages import Pending, Reply
from lenet_serve.http.wire import CLOSE
from lenet_serve.service import Service

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class Disconnected(Exception):
    """The client has gone."""


def asgi(service: Service | Application, token: str | None = None) -> Asgi:
    """Make an ASGI application of a service; it can be mounted in another.

    Args:
        service: What answers; or, for our own server, an `Application` of it.
        token: What clients must show as ``Authorization: Bearer TOKEN``; None asks for nothing.
    """
    own = service if isinstance(service, Application) else Application(service, token)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            try:
                reply, keeps = await _answer(own, scope, receive)
            except Disconnected:
                return
            headers = reply.headers
            if not keeps and headers[-1] != CLOSE:
                headers.append(CLOSE)
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            await send({"type": "http.response.body", "body": reply.body})
        else:  # a WebSocket: closing it before it is accepted is a 403
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    return application


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return


async def _answer(own: Application, scope: Scope, receive: Receive) -> tuple[Reply, bool]:
    """The reply, and whether the request was read whole, so that the connection can go on."""
    headers = [(name.lower(), value) for name, value in scope["headers"]]
    method = scope["method"]
    try:
        route, request = own.begin(method, path_of(scope), scope.get("query_string", b""), headers)
    except ServeError as error:
        reply, has_body = own.refuse_early(error, method, headers)
        return reply, not has_body
    try:
        body = await _read(own, receive)
    except ServeError as error:
        return own.refuse_early(error, method, headers)[0], False
    answer = own.answer(route, request, body)
    if isinstance(answer, Pending):
        await _wait(answer, receive)
        answer = own.finish(answer, request)
    return answer, True


async def _read(own: Application, receive: Receive) -> bytes:
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(own.limits.read_s):
            while more:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise Disconnected
                part = event.get("body", b"")
                own.context.held_bytes += len(part)
                body += part
                if len(body) > own.limits.body_bytes:
                    raise too_large(own.limits.body_bytes)
                more = event.get("more_body", False)
    except TimeoutError as error:
        raise too_slow(own.limits.read_s) from error
    finally:
        own.context.held_bytes -= len(body)
    return bytes(body)


async def _wait(pending: Pending, receive: Receive) -> None:
    """Wait for the answer, or drop it when the client goes."""
    answered = asyncio.ensure_future(asyncio.wrap_future(pending.future))
    gone = asyncio.ensure_future(receive())
    try:
        await asyncio.wait({answered, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            answered.cancel()
            raise Disconnected
        answered.exception()  # `finish` raises it again
    finally:
        gone.cancel()


def path_of(scope: Scope) -> bytes:
    """The path below where the application is mounted, as it was sent."""
    raw = scope.get("raw_path")
    sent: bytes = quote(scope["path"]).encode() if raw is None else raw.partition(b"?")[0]
    root = scope.get("root_path", "").rstrip("/")
    below = sent.split(b"/")[root.count("/") :]
    if root and unquote(sent.decode("latin-1")).startswith(f"{root}/"):
        return b"/" + b"/".join(below[1:])
    return sent
