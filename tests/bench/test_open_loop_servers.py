"""The open loop against servers: ours over HTTP and gRPC, and servers that misbehave."""

import contextlib
import dataclasses
import socket
import threading

import numpy as np
import pytest
from http_server import running

import lenet_serve
from lenet_bench.openloop import v2
from lenet_bench.openloop.clock import SystemClock
from lenet_bench.openloop.targets import connect
from lenet_runtime.errors import DeployError, InputError
from lenet_serve.grpc import GrpcServer
from lenet_serve.limits import Limits
from lenet_serve.protocol import grpc as grpc_protocol
from lenet_serve.protocol import rest as rest_protocol

IMAGE = np.random.default_rng(0).standard_normal((1, 1, 32, 32), np.float32)
CHOSEN = v2.Input("images", (1, 32, 32))
MS = 10**6
ARRIVALS = np.arange(20) * MS // 2


@pytest.fixture(scope="module")
def urls(onnx_artifact):
    with lenet_serve.Service.open(onnx_artifact.path, limits=Limits(), trust=True) as service:
        server = GrpcServer(service, "127.0.0.1:0")
        with running(service) as http:
            yield {"http": http.url, "grpc": f"grpc://127.0.0.1:{server.start()}"}
        server.stop(1)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_server_answers_every_request(urls, scheme, concurrency):
    target = connect(f"ours={urls[scheme]}", concurrency)
    try:
        assert target.name == "ours"
        assert target.image_shape == (1, 32, 32)
        target.prepare([IMAGE, 2 * IMAGE])
        target.warm_up()
        for _ in range(2):  # connections are kept
            sent = target.send(ARRIVALS, SystemClock(shared=concurrency > 1))
            assert sent.errors == ()
            assert sent.answered.all()
            assert (sent.ended > sent.due).all()
    finally:
        target.close()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_an_unknown_model_is_said(urls, scheme):
    with pytest.raises(DeployError, match="nobody"):
        connect(f"{urls[scheme]}/v2/models/nobody", 1)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_is_not_there_is_said(scheme):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(DeployError, match=str(port)):
        connect(f"{scheme}://127.0.0.1:{port}", 1)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_request_that_is_refused_is_not_answered(urls, scheme):
    """Images of another shape: the server says so, and the next window goes on."""
    target = connect(urls[scheme], 1)
    try:
        target.prepare([np.zeros((1, 1, 28, 28), np.float32)])
        sent = target.send(ARRIVALS, SystemClock())
        assert not sent.answered.any()
        assert len(sent.errors) == 3
        assert "400" in sent.errors[0] or "INVALID_ARGUMENT" in sent.errors[0]
    finally:
        target.close()


def test_requests_are_as_the_protocol_says():
    headers, body = v2.rest_body(CHOSEN, IMAGE)
    request = rest_protocol.decode("lenet", "", body, headers[v2.HEADER_LENGTH], Limits())
    (tensor,) = request.inputs
    assert (tensor.name, tensor.datatype, tensor.shape) == ("images", "FP32", IMAGE.shape)
    assert (np.asarray(tensor.data) == IMAGE).all()
    assert request.binary

    request = grpc_protocol.decode(v2.grpc_request("lenet", CHOSEN, IMAGE))
    (tensor,) = request.inputs
    assert (request.model, tensor.name, tensor.datatype) == ("lenet", "images", "FP32")
    assert (np.asarray(tensor.data).reshape(IMAGE.shape) == IMAGE).all()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://h:1", ("http h:1", "http", "h", 1, "lenet")),
        ("grpc://h", ("grpc h:8001", "grpc", "h", 8001, "lenet")),
        ("http://h/v2/models/m/", ("http h:8000", "http", "h", 8000, "m")),
        ("triton=grpc://[::1]:9/v2/models/m", ("triton", "grpc", "::1", 9, "m")),
    ],
)
def test_addresses(text, address):
    assert dataclasses.astuple(v2.parse(text)) == address


@pytest.mark.parametrize("text", ["", "h:1", "ftp://h", "http://", "http://h:x", "a=b=http://h"])
def test_what_is_no_address(text):
    with pytest.raises(InputError, match="--url"):
        v2.parse(text)


def test_the_input_is_chosen_by_its_type_and_name():
    inputs = [("pixels", "UINT8", [-1, 28, 28]), ("a", "FP32", ["-1", "3", "8", "8"])]
    assert v2.choose_input(inputs, "m") == v2.Input("a", (3, 8, 8))
    named = [*inputs, ("images", "FP32", [-1, 1, 32, 32])]
    assert v2.choose_input(named, "m").name == "images"
    with pytest.raises(InputError, match="FP32"):
        v2.choose_input(inputs[:1], "m")


@pytest.mark.parametrize("message", [b"\x80" * 11, b"\x0a\x05a", b"\x0b", b"\xff"])
def test_a_message_that_is_none_is_refused(message):
    with pytest.raises(ValueError, match=r"number|field|wire"):
        list(v2.fields(message))


METADATA = b'{"inputs":[{"name":"images","datatype":"FP32","shape":[-1,1,32,32]}]}'


@contextlib.contextmanager
def scripted(answer):
    """A server that answers metadata, and then the bytes of `answer` to all that comes."""

    def head(body):
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def serve(client):
        with client, contextlib.suppress(OSError):
            while data := client.recv(2**16):
                if data.startswith(b"GET"):
                    client.sendall(head(METADATA))
                elif answer is None:
                    return
                else:
                    client.sendall(answer)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, "closed the connection"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", "503: busy"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Content-Length"),
        (b"x" * 40_000, "headers"),
    ],
)
def test_a_server_that_misbehaves_ends_neither_the_window_nor_the_next(answer, error):
    with scripted(answer) as url:
        target = connect(url, 2)
        target.prepare([IMAGE])
        with pytest.raises(DeployError, match=error):
            target.warm_up()
        for _ in range(2):
            sent = target.send(ARRIVALS[:3], SystemClock())
            assert not sent.answered.any()
            assert error in sent.errors[0]
        target.close()


def test_an_answer_in_pieces_is_whole_once_all_came():
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nlogit"
    with scripted(answer) as url:
        target = connect(url, 1)
        target.prepare([IMAGE])
        target.warm_up()
        (connection,) = target._connections
        assert not any(connection.feed(answer[i : i + 1]) for i in range(len(answer) - 1))
        assert connection.feed(answer[-1:])
        target.close()
