"""Sends a case's bytes over a socket, and reduces the answers to what is compared."""

import contextlib
import json
import socket
import zlib
from dataclasses import dataclass, field
from typing import Any

MODEL = "/v2/models/lenet"
INFER = MODEL + "/infer"
PIXELS = [i % 7 / 4 for i in range(1024)]


@dataclass(frozen=True)
class Case:
    """Bytes to send, in parts, and how many answers they deserve.

    Attributes:
        parts: What is sent, each part in a packet of its own.
        answers: Requests among them.
        half_close: Whether the client then says that nothing more comes.
        head: Whether it is a HEAD request, whose answer has no body.
        patience_s: Seconds to wait for an answer.
    """

    parts: tuple[bytes, ...]
    answers: int = 1
    half_close: bool = False
    head: bool = False
    patience_s: float = 2.0


@dataclass(frozen=True)
class Answer:
    """What came back: ``200``, ``400`` and so on; ``closed`` or ``timeout``."""

    status: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict, compare=False)


def request(
    method: str, path: str, *headers: str, body: bytes = b"", length: bool = True, **options: Any
) -> Case:
    """A request; ``Content-Length`` is added unless `length` is false."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers]
    if length and method not in ("GET", "HEAD"):
        lines.append(f"Content-Length: {len(body)}")
    text = "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body
    return Case((text,), head=method == "HEAD", **options)


def post(path: str, body: Any = b"", *headers: str, **options: Any) -> Case:
    """A POST of bytes, or of a document as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return request("POST", path, *headers, body=data, **options)


def infer(body: Any, *headers: str, **options: Any) -> Case:
    """A POST to the model's infer."""
    return post(INFER, body, *headers, **options)


def tensor(**changes: Any) -> dict[str, Any]:
    """The good input; a change of None removes its key."""
    good = {"name": "images", "shape": [1, 1, 32, 32], "datatype": "FP32", "data": PIXELS}
    return {key: value for key, value in (good | changes).items() if value is not None}


def document(*inputs: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """A request of these inputs, the good one where there is none."""
    return {"inputs": list(inputs) or [tensor()], **keys}


def send(port: int, case: Case) -> list[Answer]:
    """Send a case's bytes and read as many answers as it deserves."""
    with socket.create_connection(("127.0.0.1", port), timeout=case.patience_s) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = connection.makefile("rb")
        answers: list[Answer] = []
        in_turn = 1 < len(case.parts) == case.answers  # each part is a request, and waits
        with contextlib.suppress(OSError):  # refused before it was whole: the answer may be here
            for part in case.parts:
                connection.sendall(part)
                if in_turn:
                    answers.append(read_answer(reader, case.head))
            if case.half_close:
                connection.shutdown(socket.SHUT_WR)
        while len(answers) < case.answers and (not answers or answers[-1].status.isdigit()):
            answers.append(read_answer(reader, case.head))
        return answers


def read_answer(reader: Any, head: bool) -> Answer:
    """Read one answer, or say that there is none."""
    try:
        line = reader.readline()
        if not line:
            return Answer("closed")
        headers = {}
        while (text := reader.readline().strip()) != b"":
            name, _, value = text.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        status = line.split()[1].decode("latin-1")
        body = b"" if head or status in ("100", "204") else read_body(reader, headers)
    except TimeoutError:
        return Answer("timeout")
    except OSError:  # reset, where bytes of the client were still unread
        return Answer("closed")
    except (IndexError, ValueError):
        return Answer("not HTTP")
    return Answer(status, reduce_body(headers, body), headers)


def read_body(reader: Any, headers: dict[str, str]) -> bytes:
    """The body, by its length, its chunks, or the end of the connection."""
    if "chunked" in headers.get("transfer-encoding", ""):
        body = b""
        while size := int(reader.readline(), 16):
            body += reader.read(size)
            reader.readline()
        reader.readline()
        return body
    length = headers.get("content-length")
    return bytes(reader.read() if length is None else reader.read(int(length)))


def reduce_body(headers: dict[str, str], body: bytes) -> Any:
    """The shape of a body: types in place of words and times, numbers to three decimals."""
    encoding = headers.get("content-encoding", "identity")
    if encoding in ("gzip", "deflate"):
        body = zlib.decompress(body, zlib.MAX_WBITS | 32)
    if not body:
        return None
    text, tail = body, b""
    if (size := headers.get("inference-header-content-length", "")).isdigit():
        text, tail = body[: int(size)], body[int(size) :]
    try:
        reduced = reduce(json.loads(text))
    except ValueError:
        return f"not JSON, {len(body) > 0 and headers.get('content-type', 'no type')}"
    return {"json": reduced, "binary bytes": len(tail)} if tail else reduced


KEPT = {
    "datatype", "extensions", "id", "model_name", "model_version", "name", "state", "versions",
}  # fmt: skip


def reduce(value: Any, key: str = "") -> Any:
    """See `reduce_body`."""
    if isinstance(value, dict):
        return {k: reduce(v, k) for k, v in value.items()}
    if isinstance(value, list):
        some = value[:1] if key == "batch_stats" else value  # one for each size that was seen
        return [reduce(each, key) for each in some]
    if isinstance(value, str):
        if len(value) > 80 and key != "error":
            return f"{len(value)} letters"
        return value if key in KEPT else "text"
    if key in ("data", "shape"):
        return float(f"{value:.5g}") if isinstance(value, float) else value
    return type(value).__name__
