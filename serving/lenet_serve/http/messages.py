"""`Request` and `Reply`: what HTTP carries, without the network."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from lenet_serve import tracing
from lenet_serve.errors import ServeError

Headers = list[tuple[bytes, bytes]]  # names in lower case

JSON = (b"content-type", b"application/json")


class Reply(NamedTuple):
    """What is sent back.

    Attributes:
        status: HTTP's status code.
        headers: Headers, without those that say how the body travels.
        body: Body.
    """

    status: int
    headers: Headers
    body: bytes


@dataclass(slots=True)
class Pending:
    """A reply that is still to come.

    Attributes:
        future: What is waited for.
        then: Makes the reply of the future's result; may raise `ServeError`.
    """

    future: Future[Any]
    then: Callable[[Any], Reply]


@dataclass(slots=True)
class Request:
    """What a client sent.

    Attributes:
        method: HTTP's method.
        headers: Each header's value by its name in lower case; of several the last.
        query: What follows the question mark.
        model: The model that the path names; empty for none.
        version: The version that the path names; empty for none.
        body: Body, inflated.
        begun_ns: The moment of `time.perf_counter_ns` when the request was there whole.
    """

    method: str
    headers: dict[bytes, bytes]
    query: bytes
    model: str = ""
    version: str = ""
    body: bytes = b""
    begun_ns: int = 0


def names(headers: dict[bytes, bytes]) -> tuple[str, str]:
    """What headers call a request, ``X-Request-Id``, and the trace that it belongs to."""
    tag, trace = headers.get(b"x-request-id", b""), headers.get(b"traceparent", b"")
    return tag.decode("latin-1"), tracing.parse(trace) if trace else ""


def json_reply(document: object, status: int = 200) -> Reply:
    """A document as JSON."""
    return Reply(status, [JSON], orjson.dumps(document))


def error_reply(error: ServeError) -> Reply:
    """What a client is told about a request that is not answered."""
    reply = json_reply({"error": str(error)}, error.code.http)
    if error.retry_after is not None:
        reply.headers.append((b"retry-after", b"%d" % error.retry_after))
    if error.allow:
        reply.headers.append((b"allow", ", ".join(error.allow).encode()))
    if error.code.http == 401:
        reply.headers.append((b"www-authenticate", b"Bearer"))
    if error.code.http == 415:
        reply.headers.append((b"accept-encoding", b"gzip, deflate"))
    return reply
