"""The server's process: what it refuses, how long it waits, and how it ends."""

import contextlib
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import replace

import httpx
import pytest
from http_server import chunked, error_of, parse, read_all, request, running
from processes import REPOSITORY

import lenet_serve
from lenet_runtime.errors import DeployError
from lenet_serve.listening import take_no_more, taken_by
from lenet_serve.server import ServerOptions, _fits, listen

LIMITS = lenet_serve.Limits(
    body_bytes=20_000, header_bytes=2000, read_s=0.4, idle_s=0.8, connections=4
)


def until(holds):
    """Wait until something holds."""
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    assert holds()


LONG = b"a" * 3000
LIVE = request("GET", "/v2/health/live")
INFER = "/v2/models/lenet/infer"
TENSOR = {"name": "images", "shape": [1, 1, 32, 32], "datatype": "FP32", "data": [0] * 1024}
BODY = json.dumps({"inputs": [TENSOR]}).encode()


@pytest.fixture(scope="module")
def service(native_session):
    model = lenet_serve.Model("lenet", "1", native_session, limits=LIMITS)
    return lenet_serve.Service([model], limits=LIMITS)


@pytest.fixture(scope="module")
def server(service):
    with running(service) as server:
        yield server


def test_a_body_that_is_too_large_by_what_it_says_is_not_read(server):
    with server.connect() as client:
        client.sendall(request("POST", INFER, content_length=10**12))
        begun = time.monotonic()
        (answer,) = parse(read_all(client))
    assert time.monotonic() - begun < 1.0
    assert answer[0] == 413
    assert answer[1]["connection"] == "close"
    assert "20000" in error_of(answer)


def test_a_body_that_is_too_large_and_does_not_say_so(server):
    body = chunked(*[b" " * 3000] * 8)
    (answer,) = parse(server.exchange(request("POST", INFER, transfer_encoding="chunked"), body))
    assert answer[0] == 413


def test_the_answer_reaches_a_client_that_goes_on_sending(server):
    """It would be reset with the answer unread on some systems, were it closed at once."""
    with server.connect() as client:
        client.sendall(request("POST", INFER, content_length=30_000_000))
        sender = threading.Thread(target=send_for_ever, args=[client])
        sender.start()
        (answer,) = parse(read_all(client))
        sender.join()
    assert answer[0] == 413


def send_for_ever(client):
    with contextlib.suppress(OSError):
        for _ in range(300):
            client.sendall(bytes(100_000))


@pytest.mark.parametrize(
    "sent",
    [
        request("GET", "/" + "a" * 3000),
        request("GET", "/", **{f"x{i}": "a" * 100 for i in range(30)}),
        b"GET / HTTP/1.1\r\nx: " + b"a" * 100_000,
        b"GET /" + b"a" * 100_000,
        request("POST", INFER, transfer_encoding="chunked") + b"0\r\nx: %b\r\n\r\n" % LONG,
    ],
    ids=["target", "many", "endless header", "endless target", "trailer"],
)  # fmt: skip
def test_headers_that_are_too_large(server, sent):
    pieces = [sent[i : i + 900] for i in range(0, len(sent), 900)]
    answers = parse(server.exchange(*pieces))
    assert answers[0][0] == 431, answers
    assert "2000" in error_of(answers[0])


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        request("POST", INFER, content_length=-1),
        request("POST", INFER, content_length="abc"),
        request("POST", INFER, content_length=10**30),
        request("POST", INFER, content_length=5, transfer_encoding="chunked"),
        request("POST", INFER, transfer_encoding="chunked") + b"no size\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    ],
)
def test_what_is_no_http_is_400(server, sent):
    (answer,) = parse(server.exchange(sent))
    assert answer[0] == 400
    assert answer[1]["connection"] == "close"
    error_of(answer)


def test_what_came_before_is_answered(server):
    answers = parse(server.exchange(LIVE + b"garbage\r\n\r\n"))
    assert [status for status, _, _ in answers] == [200, 400]


@pytest.mark.parametrize("over_asgi", [False, True])
@pytest.mark.parametrize(
    "sent",
    [b"GET / HT", request("POST", INFER, content_length=4096) + b"x"],
    ids=["headers", "body"],
)
def test_who_sends_too_slowly_is_told_so(server, service, sent, over_asgi):
    if over_asgi and sent.startswith(b"GET"):
        pytest.skip("uvicorn's own protocol waits for headers as long as they take")
    with contextlib.ExitStack() as stack:
        if over_asgi:
            server = stack.enter_context(running(service, over_asgi=True))
        (answer,) = parse(server.exchange(sent))
    assert answer[0] == 408
    assert "0.4 s" in error_of(answer)


def test_idle_connections_are_closed(server):
    with server.connect() as silent, server.connect() as used:
        used.sendall(LIVE)
        begun = time.monotonic()
        assert parse(read_all(used))[0][0] == 200
        assert read_all(silent) == b""
        assert 0.5 < time.monotonic() - begun < 3.0


def test_who_does_not_read_is_not_written_to_without_end(server, service):
    """Requests by the thousand, and not one answer read: the server stops reading, and hangs up."""
    with server.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sent = request("GET", "/openapi.json") * 100_000
        with pytest.raises((ConnectionError, TimeoutError)):
            client.sendall(sent)


def test_connections_beyond_the_limit_are_503(server):
    with contextlib.ExitStack() as stack:
        for _ in range(LIMITS.connections):
            client = stack.enter_context(server.connect())
            client.sendall(LIVE)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        (answer,) = parse(server.exchange(LIVE))
        assert answer[0] == 503
        assert answer[1]["retry-after"] == "1"
    until(lambda: not server.server.server_state.connections)
    assert server.ask("GET", "/livez")[0] == 200


def test_bodies_of_all_connections_together_are_bounded():
    limits = replace(LIMITS, received_bytes=12_000, read_s=5.0)
    with (
        running(lenet_serve.Service([], limits=limits)) as server,
        server.connect() as client,
    ):
        context = server.server._application.context
        client.sendall(request("POST", INFER, content_length=10_000) + bytes(9000))
        until(lambda: context.held_bytes == 9000)
        (answer,) = parse(server.exchange(request("POST", INFER, bytes(5000))))
        assert answer[0] == 503
        client.close()
        until(lambda: context.held_bytes == 0)
        assert server.ask("POST", INFER, bytes(5000))[0] == 404  # no model, and no 503


@pytest.mark.parametrize("over_asgi", [False, True])
def test_who_hangs_up_costs_nothing_more(service, monkeypatch, over_asgi):
    future = Future()
    asked = threading.Event()
    monkeypatch.setattr(service, "submit", lambda *_: asked.set() or future)
    with running(service, over_asgi=over_asgi) as server:
        with server.connect() as client:
            client.sendall(request("POST", INFER, BODY))
            assert asked.wait(10)
        until(future.cancelled)


# The token.


@pytest.fixture(scope="module", params=[False, True], ids=["own", "asgi"])
def guarded(service, request):
    with running(service, token="s3cret", over_asgi=request.param) as server:
        yield server


@pytest.mark.parametrize("shown", [None, "s3cret", "Bearer", "Bearer s3cre", "Bearer s3crett",
                                   "Basic s3cret", "Bearer é"])  # fmt: skip
def test_without_the_token_nothing_is_told(guarded, shown):
    for method, path in (("GET", "/v2"), ("GET", "/no"), ("GET", "/metrics"), ("DELETE", INFER)):
        answer = guarded.ask(method, path, authorization=shown)
        assert answer[0] == 401
        assert answer[1]["www-authenticate"] == "Bearer"
        assert "s3cret" not in error_of(answer)


def test_with_the_token(guarded):
    for shown in ("Bearer s3cret", "bearer  s3cret"):
        assert guarded.ask("GET", "/v2", authorization=shown)[0] == 200
        assert guarded.ask("GET", "/no", authorization=shown)[0] == 404


@pytest.mark.parametrize(
    "path", ["/livez", "/v2/health/ready", "/v2/models/lenet/ready", "/healthz"]
)
def test_probes_need_no_token(guarded, path):
    assert guarded.ask("GET", path)[0] == 200


# Listeners.


def test_a_port_in_use_is_said_at_once():
    with listen(ServerOptions(http_port=0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(DeployError, match=rf"127\.0\.0\.1:{port}: .*in use"):
            listen(ServerOptions(http_port=port))


def test_a_host_that_is_none():
    with pytest.raises(DeployError, match=r"no\.such\.invalid:0: expected an address"):
        listen(ServerOptions(host="no.such.invalid", http_port=0))


def test_a_unix_socket(service, tmp_path):
    path = tmp_path / "socket"
    with running(service, uds=path) as server:
        assert server.ask("GET", "/livez")[0] == 200
        with pytest.raises(DeployError, match="in use"):
            listen(ServerOptions(uds=path))
    assert not path.exists()


def test_a_unix_socket_that_was_left_behind(tmp_path):
    path = tmp_path / "socket"
    listen(ServerOptions(uds=path)).close()
    assert path.exists()
    listen(ServerOptions(uds=path)).close()


def test_no_file_is_taken_for_a_unix_socket(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(DeployError, match="in use"):
        listen(ServerOptions(uds=tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "precious"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert,
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


@pytest.mark.parametrize("over_asgi", [False, True])
def test_tls(service, certificate, over_asgi):
    cert, key = certificate
    with running(service, tls_cert=cert, tls_key=key, over_asgi=over_asgi) as server:
        trusted = ssl.create_default_context(cafile=str(cert))
        with httpx.Client(verify=trusted) as client:
            for _ in range(2):
                url = server.url.replace("http:", "https:")
                answer = client.post(url + INFER, content=BODY)
                assert answer.status_code == 200


# The end.


def test_draining_says_so_and_answers_everything(service):
    with running(service, drain_delay=1.0) as server, server.connect() as client:
        client.sendall(LIVE)
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        server.server.stop()
        until(lambda: service.draining)
        assert server.ask("GET", "/v2/health/live")[0] == 200
        ready = server.ask("GET", "/v2/health/ready")
        assert ready[0] == 503
        client.sendall(request("POST", INFER, BODY))
        (answer,) = parse(read_all(client))
        assert answer[0] == 200
        assert answer[1]["connection"] == "close"
        server.thread.join(5)
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_a_connection_that_the_kernel_has_taken_is_served(service):
    """One that nobody has accepted when the listener closes would be reset."""
    with running(service) as server:
        loop = server.server._loop
        entered, leave = threading.Event(), threading.Event()
        loop.call_soon_threadsafe(lambda: (entered.set(), leave.wait()))
        entered.wait()
        server.server.stop()
        with server.connect() as client:  # while the loop stands still
            client.sendall(request("POST", INFER, BODY))
            leave.set()
            (answer,) = parse(read_all(client))
        assert answer[0] == 200


def start(artifact, *flags):
    """A server in a process of its own, and its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lenet_deploy", "serve", artifact, "--trust", "--http-port", "0",
         "--grpc-port", "off", *flags],
        stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    for line in process.stderr:
        if line.startswith("ready: "):
            return process, line.split()[1]
    raise AssertionError(process.wait())


def test_sigterm_loses_no_request(native_artifact):
    process, url = start(native_artifact.path, "--drain-delay", "0.2")
    answered, lost, stop = [], [], threading.Event()

    def ask():
        client = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        while not stop.is_set():
            try:
                client.connect() if client.sock is None else None
            except OSError:  # closed, before anything was sent
                return
            try:
                client.request("POST", INFER, BODY)
                answer = client.getresponse()
                answer.read()
                answered.append(answer.status)
            except (OSError, http.client.HTTPException) as error:
                lost.append(error)
                client.close()
            time.sleep(0.003)

    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    until(lambda: len(answered) > 50)
    process.send_signal(signal.SIGTERM)
    code = process.wait(10)
    stop.set()
    for client in clients:
        client.join()
    process.stderr.close()
    assert (code, lost, set(answered)) == (0, [], {200})


def test_a_second_signal_ends_at_once(native_artifact):
    process, _ = start(native_artifact.path, "--drain-delay", "60")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(2) == 128 + signal.SIGTERM
    process.stderr.close()


def test_a_uvicorn_of_another_make_serves_by_asgi(service, monkeypatch):
    import uvicorn.server

    class Other:
        connections = ()

    assert _fits()
    monkeypatch.setattr(uvicorn.server, "ServerState", Other)
    assert not _fits()


def test_who_comes_too_late_is_not_taken_and_reset():
    """The kernel answers nobody any more, but finishes what it began."""
    with listen(ServerOptions(http_port=0)) as listener:
        address = listener.getsockname()
        early = socket.create_connection(address)
        take_no_more(listener)
        with pytest.raises(TimeoutError):
            socket.create_connection(address, timeout=0.2)
        (taken,) = taken_by(listener)
        with early, taken:
            early.sendall(b"a request")
            assert taken.recv(100) == b"a request"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
