"""REST: the frame around a body: lengths, chunks, versions of HTTP, headers, connections."""

import json

from tests.serve.differential.wire import INFER, Case, document, infer, request

BODY = json.dumps(document()).encode()
READY = b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n"
SIZE = f"Content-Length: {len(BODY)}"


def head(*headers: str, line: str = f"POST {INFER} HTTP/1.1", host: bool = True) -> bytes:
    """A request's head, of exactly these headers behind Host."""
    lines = [line, *(["Host: test"] if host else []), *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def chunks(*pieces: bytes) -> bytes:
    """A chunked body, whole."""
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def chunked(body: bytes, *headers: str, half_close: bool = False) -> Case:
    """An infer whose body is said to be chunked."""
    return Case((head("Transfer-Encoding: chunked", *headers) + body,), half_close=half_close)


def sent(*headers: str, body: bytes = BODY, **options: bool) -> Case:
    """An infer of exactly these headers."""
    return Case((head(*headers) + body,), **options)


def many(count: int) -> list[str]:
    """Small headers."""
    return [f"X-{i}: {i}" for i in range(count)]


CASES: dict[str, Case] = {
    "Expect: 100-continue": Case((head("Expect: 100-continue", SIZE), BODY)),
    "Content-Length 10**12, no body": sent(f"Content-Length: {10**12}", body=b""),
    "Content-Length 10**12, half-closed":
        sent(f"Content-Length: {10**12}", body=b"", half_close=True),
    "Content-Length 10**30": sent(f"Content-Length: {10**30}"),
    "Content-Length -1": sent("Content-Length: -1"),
    "Content-Length abc": sent("Content-Length: abc"),
    "chunked": chunked(chunks(BODY)),
    "no content-length POST": sent(body=b""),
    "HTTP/1.0": Case((head(SIZE, line=f"POST {INFER} HTTP/1.0") + BODY,)),
    "garbage line": Case((b"nope\r\n\r\n",)),
    "very long header 100k": infer(BODY, "X-Long: " + "x" * 100_000),
    # Ours.
    "chunked in pieces": chunked(chunks(BODY[:1], BODY[1:500], BODY[500:])),
    "chunked with extension": chunked(chunks(BODY).replace(b"\r\n", b";a=b\r\n", 1)),
    "chunked with trailer": chunked(chunks(BODY)[:-2] + b"X-Trailer: 1\r\n\r\n"),
    "chunked empty": chunked(chunks()),
    "chunked, bad size": chunked(b"zz\r\n{}\r\n0\r\n\r\n"),
    "chunked, negative size": chunked(b"-1\r\n{}\r\n0\r\n\r\n"),
    "chunked, size of 20 digits": chunked(b"f" * 20 + b"\r\n{}\r\n"),
    "chunked, no end, half-closed": chunked(chunks(BODY)[:-5], half_close=True),
    "chunked and Content-Length": chunked(chunks(BODY), SIZE),
    "chunked, gzip as well": sent("Transfer-Encoding: gzip, chunked", body=chunks(BODY)),
    "Transfer-Encoding unknown": sent("Transfer-Encoding: nope", SIZE),
    "Transfer-Encoding identity": sent("Transfer-Encoding: identity", SIZE),
    "Content-Length twice": sent(SIZE, SIZE),
    "Content-Length twice, unlike": sent(SIZE, "Content-Length: 5"),
    "Content-Length with plus": sent(f"Content-Length: +{len(BODY)}"),
    "Content-Length with comma": sent(f"Content-Length: {len(BODY)}, {len(BODY)}"),
    "Content-Length hexadecimal": sent(f"Content-Length: {len(BODY):#x}"),
    "Content-Length empty": sent("Content-Length:"),
    "Content-Length padded": sent(f"Content-Length:   {len(BODY)}  "),
    "Content-Length 0": sent("Content-Length: 0", body=b""),
    "body shorter, half-closed": sent(SIZE, body=BODY[:-1], half_close=True),
    "body in two packets": Case((head(SIZE) + BODY[:100], BODY[100:])),
    "head in many packets": Case((*(bytes([byte]) for byte in head(SIZE)), BODY)),
    "bare line feeds": Case((head(SIZE).replace(b"\r\n", b"\n") + BODY,)),
    "HTTP/0.9": Case((b"GET /v2/health/ready\r\n",), patience_s=0.4),
    "HTTP/1.0 keep-alive": Case((head(
        "Connection: keep-alive", line="GET /v2/health/ready HTTP/1.0") * 2,), answers=2),
    "HTTP/2.0 in the line": Case((head(SIZE, line=f"POST {INFER} HTTP/2.0") + BODY,)),
    "HTTP/3.7 in the line": Case((head(SIZE, line=f"POST {INFER} HTTP/3.7") + BODY,)),
    "HTTP/2 preface": Case((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",)),
    "lower-case http/1.1": Case((head(SIZE, line=f"POST {INFER} http/1.1") + BODY,)),
    "two spaces in the line": Case((head(SIZE, line=f"POST  {INFER} HTTP/1.1") + BODY,)),
    "no path": Case((head(line="GET HTTP/1.1"),)),
    "empty line": Case((b"\r\n\r\n",), patience_s=0.4),
    "empty lines first": Case((b"\r\n\r\n" + READY,)),
    "TLS hello": Case((b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32,)),
    "NUL bytes": Case((b"\0" * 64 + b"\r\n\r\n",)),
    "nothing, half-closed": Case((b"",), half_close=True),
    "half a head, half-closed": Case((head(SIZE)[:-2],), half_close=True),
    "half-closed after the request": Case((READY,), half_close=True),
    "no Host": Case((head(SIZE, host=False) + BODY,)),
    "two Hosts": sent("Host: other", SIZE),
    "header without colon": sent(SIZE, "nope"),
    "header with a space": sent(SIZE, "X y: 1"),
    "header without name": sent(SIZE, ": 1"),
    "space before the colon": sent(SIZE, "X-Space : 1"),
    "header folded": sent(SIZE, "X-Fold: a\r\n b"),
    "header with NUL": sent(SIZE, "X-Nul: a\0b"),
    "header not ASCII": sent(SIZE, "X-Text: \u00e9"),
    "header with carriage return": sent(SIZE, "X-Cr: a\rb"),
    "50 headers": sent(SIZE, *many(50)),
    "1000 headers": sent(SIZE, *many(1000)),
    "header of 8k": sent(SIZE, "X-Long: " + "x" * 8000),
    "path of 100k": request("GET", "/v2/" + "x" * 100_000),
    "request id header": sent(SIZE, "X-Request-Id: abc"),
    "traceparent": sent(SIZE, "traceparent: 00-" + "1" * 32 + "-" + "2" * 16 + "-01"),
    "traceparent nonsense": sent(SIZE, "traceparent: nope"),
    "Authorization nonsense": sent(SIZE, "Authorization: nope"),
    "Cookie": sent(SIZE, "Cookie: a=b"),
    "Range": sent(SIZE, "Range: bytes=0-1"),
    "If-None-Match": sent(SIZE, "If-None-Match: *"),
    "Upgrade: websocket": Case((head(
        "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", line="GET /v2/health/ready HTTP/1.1"),)),
    "Upgrade: h2c": Case((head(
        "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk",
        line="GET /v2/health/ready HTTP/1.1"),)),
    "Expect: nonsense": sent(SIZE, "Expect: nope"),
    "X-HTTP-Method-Override": sent(SIZE, "X-HTTP-Method-Override: DELETE"),
    "keep-alive, 3 in turn": Case((READY, READY, READY), answers=3),
    "3 pipelined": Case((READY * 3,), answers=3),
    "infer pipelined": Case(((head(SIZE) + BODY) * 2,), answers=2),
    "bad body, then good": Case((head("Content-Length: 1") + b"{" + READY,), answers=2),
    "404, then good": Case((head(line="GET /nope HTTP/1.1") + READY,), answers=2),
    "Connection: close, then another": Case((
        head("Connection: close", line="GET /v2/health/ready HTTP/1.1"), READY), answers=2),
    "smuggled": chunked(b"0\r\n\r\n" + READY, "Content-Length: 5"),
    "CONNECT": Case((head(line="CONNECT test:80 HTTP/1.1"),)),
    "body of 20 MiB": infer(b" " * (20 << 20)),
    "alive after the frames": infer(document()),
}  # fmt: skip
