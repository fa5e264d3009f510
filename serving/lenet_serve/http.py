"""The protocol's REST side as an ASGI application."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future
from typing import Any

import orjson

from lenet_serve.errors import Code, ServeError
from lenet_serve.protocol import rest
from lenet_serve.service import Service

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


def asgi(service: Service) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Make an ASGI application of a service; it can be mounted in another."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        try:
            status, (headers, answer) = 200, await _infer(service, scope["path"], body)
        except ServeError as error:
            status, answer = error.code.http, orjson.dumps({"error": str(error)})
            headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return application


async def _infer(service: Service, path: str, body: bytes) -> tuple[rest.Headers, bytes]:
    if path in ("/v2/health/live", "/v2/health/ready"):
        return [], b""
    parts = path.strip("/").split("/")
    if len(parts) != 4 or parts[:2] != ["v2", "models"] or parts[3] != "infer":
        raise ServeError(f"no such path: {path}", Code.NOT_FOUND)
    request = rest.decode(parts[2], "", body, None, service.limits)
    answer = service.submit(request)
    if isinstance(answer, Future):
        answer = await asyncio.wrap_future(answer)
    return rest.encode(answer, request)
