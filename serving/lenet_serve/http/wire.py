"""Replies as HTTP/1.1 writes them, and what a request's first line asks for."""

from http import HTTPStatus

from lenet_serve.http.messages import Headers, Reply

_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE = (b"connection", b"close")


def written(reply: Reply, defaults: Headers, closes: bool) -> bytes:
    """A reply's bytes.

    Args:
        reply: The reply.
        defaults: Headers of all replies.
        closes: Whether the connection ends with it.
    """
    headers = [*defaults, *reply.headers]
    if closes and reply.headers[-1] != CLOSE:
        headers.append(CLOSE)
    return b"\r\n".join([_LINES[reply.status], *map(b": ".join, headers), b"", reply.body])


def target(url: bytes) -> tuple[bytes, bytes, bytes]:
    """The path of a request's target, and its query."""
    if not url.startswith(b"/"):  # a proxy's: http://host/path
        _, found, rest = url.partition(b"://")
        url = b"/" + rest.partition(b"/")[2] if found else url
    return url.partition(b"?")
