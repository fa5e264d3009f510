"""Clients as no one should be: slow, broken off, endless, too large, or no clients at all.

Each is a function of a server's HTTP port and gRPC port. It does its worst for a few seconds at
most, and where an answer is due it asserts which.
"""

import contextlib
import gzip
import json
import random
import socket
import struct
import time

INFER = "/v2/models/lenet/infer"
IMAGE = {"name": "pixels", "shape": [1, 28, 28], "datatype": "UINT8", "data": [0] * 784}
BODY = json.dumps({"inputs": [IMAGE]}).encode()


def head(length, *headers, path=INFER):
    """A request's head; its length may be a lie."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", *headers]
    lines += [f"Content-Length: {length}"] if length is not None else []
    return "\r\n".join([*lines, "", ""]).encode()


GOOD = head(len(BODY)) + BODY


@contextlib.contextmanager
def connected(port, timeout=10.0):
    """A connection, which is closed however it ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as client:
        yield client


def read(client):
    """All that comes until the server closes, or nothing comes any more."""
    data = b""
    with contextlib.suppress(OSError):
        while part := client.recv(65536):
            data += part
    return data


def sent(port, data, *, ends=False):
    """Send, perhaps close the sending half, and read; what can no longer be sent is not sent."""
    with connected(port) as client:
        with contextlib.suppress(OSError):
            client.sendall(data)
            if ends:
                client.shutdown(socket.SHUT_WR)
        client.settimeout(3)
        return read(client)


def expect(status, answer):
    assert answer.startswith(b"HTTP/1.1 %d " % status), (status, answer[:200])


def drip(port, data, seconds=3.0, pause=0.1):
    """Send a byte at a time, and hang up."""
    with connected(port) as client, contextlib.suppress(OSError):
        end = time.monotonic() + seconds
        for byte in data:
            client.sendall(bytes([byte]))
            time.sleep(pause)
            if time.monotonic() > end:
                break


def slow_head(http, grpc):
    drip(http, GOOD)


def slow_body(http, grpc):
    with connected(http) as client, contextlib.suppress(OSError):
        client.sendall(head(len(BODY)))
        for byte in BODY[:30]:
            client.sendall(bytes([byte]))
            time.sleep(0.1)


def half_closed(http, grpc):
    """A whole request is answered though its client's sending half is closed; a part is dropped."""
    expect(200, sent(http, GOOD, ends=True))
    sent(http, GOOD[:-100], ends=True)
    sent(http, GOOD[:50], ends=True)


def bomb(http, grpc):
    body = gzip.compress(bytes(2**26))
    expect(413, sent(http, head(len(body), "Content-Encoding: gzip", "Connection: close") + body))


def bombs(http, grpc):
    """A great many empty streams, one behind the other."""
    body = gzip.compress(b"") * 200_000
    expect(400, sent(http, head(len(body), "Content-Encoding: gzip", "Connection: close") + body))


def lies_of_length(http, grpc):
    expect(413, sent(http, head(10**12) + bytes(100_000)))
    expect(400, sent(http, head(10**30) + bytes(100_000)))
    expect(400, sent(http, head(-1)))
    expect(400, sent(http, head(10, "Transfer-Encoding: chunked") + b"0\r\n\r\n"))


def endless_chunks(http, grpc):
    chunk = b"%x\r\n%s\r\n" % (65536, bytes(65536))
    with connected(http) as client:
        client.sendall(head(None, "Transfer-Encoding: chunked"))
        client.settimeout(3)
        for _ in range(257):  # 16 MiB are the limit
            client.sendall(chunk)
        expect(413, client.recv(1000))
        with contextlib.suppress(OSError):
            while True:
                client.sendall(chunk)


def idle(http, grpc):
    """As many connections as a process may have, that say nothing."""
    with contextlib.ExitStack() as open_ones:
        for _ in range(400):
            with contextlib.suppress(OSError):
                open_ones.enter_context(connected(http))
        time.sleep(0.5)


def many_bodies(http, grpc):
    """Large bodies on many connections, none of which comes whole."""
    with contextlib.ExitStack() as open_ones:
        for _ in range(24):
            client = open_ones.enter_context(connected(http))
            with contextlib.suppress(OSError):
                client.sendall(head(2**24) + bytes(2**20))


def pipelined(http, grpc):
    answers = sent(http, GOOD * 99 + head(len(BODY), "Connection: close") + BODY)
    assert answers.count(b"HTTP/1.1 200 ") == 100, answers.count(b"HTTP/1.1 ")


def hangs_up(http, grpc):
    """Large requests are sent, and nobody is there for the answers; reset, not closed."""
    count = 500
    pixels = {"name": "pixels", "shape": [count, 28, 28], "datatype": "UINT8",
              "parameters": {"binary_data_size": count * 784}}  # fmt: skip
    text = json.dumps({"inputs": [pixels]}).encode()
    whole = head(len(text) + count * 784, f"Inference-Header-Content-Length: {len(text)}")
    for wait in (0, 0.001, 0.02, 0.1):
        with connected(http) as client:
            client.sendall(whole + text + bytes(count * 784))
            time.sleep(wait)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def deaf(http, grpc):
    """Asks without end and reads nothing."""
    with connected(http, 1.0) as client, contextlib.suppress(OSError):
        for _ in range(2000):
            client.sendall(GOOD)


def header_flood(http, grpc):
    expect(431, sent(http, head(0, *(f"X-{n}: {n}" for n in range(10_000)))))
    expect(431, sent(http, b"GET /" + b"a" * 100_000))
    expect(431, sent(http, b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000))


def pictures(http, grpc):
    """Forms of a great many parts, and pictures that are none."""
    form = b"--a\r\nContent-Disposition: form-data; name=p; filename=f\r\n\r\nx\r\n" * 20_000
    kind = "Content-Type: multipart/form-data; boundary=a"
    body = form + b"--a--"
    answer = sent(http, head(len(body), kind, "Connection: close", path="/v1/predict") + body)
    assert answer.startswith(b"HTTP/1.1 4"), answer[:200]
    tensor = {"name": "file", "datatype": "BYTES", "shape": [4000], "data": ["x"] * 4000}
    text = json.dumps({"inputs": [tensor]}).encode()
    expect(400, sent(http, head(len(text), "Connection: close") + text))


def garbage(http, grpc):
    for port in filter(None, (http, grpc)):
        for _ in range(20):
            sent(port, random.randbytes(random.randrange(1, 3000)), ends=True)
    expect(400, sent(http, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ends=True))
    sent(http, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100))
    if grpc:
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
        sent(grpc, preface + random.randbytes(1000), ends=True)
        sent(grpc, GOOD, ends=True)


def cancelled_calls(http, grpc):
    """gRPC's calls that are given up, and messages that are none."""
    if not grpc:
        return
    import grpc as grpcio

    path = "/inference.GRPCInferenceService/ModelInfer"
    with grpcio.insecure_channel(f"127.0.0.1:{grpc}") as channel:
        stub = channel.unary_unary(path)
        for _ in range(50):
            call = stub.future(random.randbytes(2000), timeout=5)
            call.cancel()
        calls = [stub.future(random.randbytes(2000), timeout=5) for _ in range(50)]
        for call in calls:
            assert call.code().name in ("INVALID_ARGUMENT", "NOT_FOUND"), call.code()


BAD = [
    slow_head, slow_body, half_closed, bomb, bombs, lies_of_length, endless_chunks, idle,
    many_bodies, pipelined, hangs_up, deaf, header_flood, pictures, garbage, cancelled_calls,
]  # fmt: skip
