"""A server in a thread of this process, and requests written byte by byte."""

import contextlib
import json
import re
import socket
import threading

from lenet_serve.server import Server, ServerOptions, listen


class Running:
    """A server that runs."""

    def __init__(self, server, listener, thread):
        self.server, self.thread = server, thread
        self.address = listener.getsockname()
        self.family = listener.family

    @property
    def url(self):
        return f"http://127.0.0.1:{self.address[1]}"

    def connect(self, timeout=5.0):
        client = socket.socket(self.family)
        client.settimeout(timeout)
        client.connect(self.address)
        return client

    def exchange(self, *pieces, half_close=False):
        """Everything that comes back to `pieces`, until the server closes."""
        with self.connect() as client:
            for piece in pieces:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.sendall(piece)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            return read_all(client)

    def ask(self, method, path, body=b"", **headers):
        """The status, headers and body of one answer, on a connection of its own."""
        (answer,) = parse(self.exchange(request(method, path, body, connection="close", **headers)))
        return answer


@contextlib.contextmanager
def running(service, **options):
    """Run a server, and drain it without a delay."""
    options = ServerOptions(**{"http_port": 0, "drain_delay": 0.0} | options)
    listener = listen(options)
    server = Server(service, options)
    ready = threading.Event()
    failed = []

    def run():
        try:
            server.run_on(listener, ready.set)
        except BaseException as error:
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    assert not failed, failed
    try:
        yield Running(server, listener, thread)
    finally:
        if thread.is_alive():
            server.stop()
        thread.join(10)
        assert not thread.is_alive()
        service.draining = False  # the next server's


def request(method, path, body=b"", version="1.1", **headers):
    """A request's bytes; a header's name is written with underscores, None leaves it out."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {"host": "test"} | ({"content-length": len(body)} if body else {}) | named
    lines = [f"{method} {path} HTTP/{version}"]
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(*chunks):
    """A body in chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def read_all(client):
    """What comes until the other end closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            received += data
    return received


def parse(data):
    """Each answer in `data`: its status, headers and body; by its own Content-Length."""
    answers = []
    while data:
        head, found, data = data.partition(b"\r\n\r\n")
        assert found, head
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (f.partition(": ") for f in fields)}
        size = int(headers.get("content-length", 0))
        answers.append((int(line.split()[1]), headers, data[:size]))
        data = data[size:]
    return answers


def error_of(answer):
    """The text of an error, which is JSON whatever happened."""
    _, headers, body = answer
    assert headers["content-type"] == "application/json"
    (text,) = json.loads(body).values()
    return text


def undated(data):
    """Bytes of answers without their dates."""
    return re.sub(rb"\r\ndate: [^\r]*", b"", data)
