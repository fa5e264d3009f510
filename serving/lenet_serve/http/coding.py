"""Content codings: bodies are inflated within the limit, and deflated where that pays."""

import gzip
import zlib

from lenet_serve.errors import Code, ServeError

_WORTHWHILE = 1024  # bytes; compressing less saves no packet


def check_coding(coding: bytes) -> None:
    """Refuse a ``Content-Encoding`` that `inflate` does not know.

    Raises:
        ServeError: It is another one.
    """
    if coding.lower() not in (b"", b"identity", b"gzip", b"x-gzip", b"deflate"):
        raise ServeError(
            "Content-Encoding: expected gzip, deflate or identity, found another",
            Code.UNSUPPORTED_TYPE,
        )


def inflate(body: bytes, coding: bytes, limit: int) -> bytes:
    """Undo a body's ``Content-Encoding``; no more than `limit` bytes are ever made of it.

    Raises:
        ServeError: The body is not what the coding says, or inflates to more.
    """
    if coding.lower() in (b"", b"identity"):
        return body
    bits = 31 if b"gzip" in coding.lower() else _deflate_bits(body)
    inflated, rest = b"", body
    try:
        while rest or not inflated:  # gzip files may be several, one after another
            stream = zlib.decompressobj(bits)
            inflated += stream.decompress(rest, limit + 1 - len(inflated))
            if len(inflated) > limit:
                raise too_large(limit, "inflated")
            if not stream.eof:
                raise ServeError(f"body: expected a whole {coding.decode()} stream, found a part")
            if not (rest := stream.unused_data):
                break
    except zlib.error as error:
        raise ServeError(f"body: expected a {coding.decode()} stream, found other bytes") from error
    return inflated


def _deflate_bits(body: bytes) -> int:
    """HTTP's deflate is zlib's format; but some clients send the stream without its header."""
    is_zlib = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return 15 if is_zlib else -15


def too_large(limit: int, what: str = "body") -> ServeError:
    """The error of a body beyond the limit."""
    name = "body" if what == "body" else f"body, {what}"
    return ServeError(
        f"{name}: expected at most {limit} bytes (--max-body), found more", Code.TOO_LARGE
    )


def gzipped(body: bytes, accepted: bytes) -> bytes | None:
    """The body as gzip, where ``Accept-Encoding`` asks for it and it pays; else None."""
    if len(body) < _WORTHWHILE or b"gzip" not in accepted:
        return None
    for part in accepted.lower().split(b","):
        name, _, weight = part.partition(b";")
        if name.strip() == b"gzip":
            zero = weight.replace(b" ", b"").removeprefix(b"q=").strip(b"0.") == b"" and weight
            return None if zero else gzip.compress(body, 1, mtime=0)
    return None
