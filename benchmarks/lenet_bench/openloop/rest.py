"""A server of the Open Inference Protocol over HTTP: keep-alive connections and binary tensors."""

import http.client
import json
import socket
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lenet_bench.openloop import sockets, v2
from lenet_bench.openloop.clock import Clock
from lenet_bench.openloop.sending import Moments, Sent
from lenet_runtime.errors import DeployError

_SECONDS = 5.0  # to connect, and to answer what is not timed
_MOST_HEADERS = 2**15


class RestTarget:
    """A model behind HTTP, see `lenet_bench.openloop.targets.Target`.

    Args:
        address: Where the model is.
        concurrency: Number of connections.

    Raises:
        DeployError: Nobody answers there as the protocol says.
    """

    def __init__(self, address: v2.Address, concurrency: int) -> None:
        self.name, self._address = address.name, address
        self._input = v2.choose_input(self._inputs(), address.name)
        self.image_shape = self._input.shape
        self.details = {"protocol": "http", "host": f"{address.host}:{address.port}"}
        self.concurrency = concurrency
        self._requests: Sequence[bytes] = ()
        self._connections: list[_Connection] = []

    def prepare(self, images: Sequence[NDArray[np.float32]]) -> None:
        """See `Target.prepare`."""
        self._requests = [self._request(one) for one in images]
        self.close()
        self._connections = [
            _Connection(self._address, self._requests) for _ in range(self.concurrency)
        ]

    def warm_up(self) -> None:
        """See `Target.warm_up`."""
        for connection in self._connections:
            connection.ask_and_wait()

    def send(self, arrivals: Moments, clock: Clock) -> Sent:
        """See `Target.send`."""
        return sockets.send(self._connections, arrivals, clock)

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()

    def _request(self, images: NDArray[np.float32]) -> bytes:
        headers, body = v2.rest_body(self._input, images)
        headers |= {"Host": f"{self._address.host}:{self._address.port}"}
        headers |= {"Content-Length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        path = f"/v2/models/{self._address.model}/infer"
        return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body

    def _inputs(self) -> list[tuple[str, str, list[int]]]:
        address = self._address
        connection = http.client.HTTPConnection(address.host, address.port, timeout=_SECONDS)
        try:
            connection.request("GET", f"/v2/models/{address.model}")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise DeployError(f"{address.name}: {_reason(answer.status, body)}")
            return [(t["name"], t["datatype"], t["shape"]) for t in json.loads(body)["inputs"]]
        except (OSError, http.client.HTTPException) as error:
            raise DeployError(f"{address.name}: nobody answers there ({error})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise DeployError(
                f"{address.name}: expected the model's metadata ({error!r})"
            ) from error
        finally:
            connection.close()


def _reason(status: int, body: bytes) -> str:
    return f"answered {status}: {body[:200].decode(errors='replace')}"


class _Connection:
    """One connection; see `lenet_bench.openloop.sockets.Connection`."""

    def __init__(self, address: v2.Address, requests: Sequence[bytes]) -> None:
        self._address, self._requests = address, requests
        self._open: socket.socket | None = None
        self._buffer = b""
        self._whole = 0  # length of the answer that is being read; 0 until its headers are there

    @property
    def socket(self) -> socket.socket:
        """Its socket; connected where it was closed."""
        if self._open is None:
            place = (self._address.host, self._address.port)
            self._open = socket.create_connection(place, _SECONDS)
            self._open.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.setblocking(False)
        return self._open

    def request(self, number: int) -> None:
        """Send it; a buffer that is full after one request is an error."""
        data = self._requests[number % len(self._requests)]
        if self.socket.send(data) != len(data):
            raise ConnectionError("the server does not read its requests")

    def feed(self, data: bytes) -> bool:
        """See `Connection.feed`."""
        self._buffer += data
        if not self._whole:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _MOST_HEADERS:
                    raise ConnectionError("expected the end of an answer's headers")
                return False
            self._whole = end + 4 + _content_length(self._buffer[:end])
        if len(self._buffer) < self._whole:
            return False
        answer, self._buffer, self._whole = self._buffer, b"", 0
        if not answer.startswith(b"HTTP/1.1 200"):
            status, body = int(answer[9:12]), answer.partition(b"\r\n\r\n")[2]
            raise DeployError(_reason(status, body))
        return True

    def ask_and_wait(self) -> None:
        """Ask once, untimed; raises DeployError where no answer comes."""
        try:
            self.socket.settimeout(_SECONDS)
            self.request(0)
            while not self.feed(self.socket.recv(2**16) or self._ended()):
                pass
            self.socket.setblocking(False)
        except (OSError, DeployError) as error:
            self.close()
            raise DeployError(f"{self._address.name}: {error}") from error

    def close(self) -> None:
        """See `Connection.close`."""
        if self._open is not None:
            self._open.close()
        self._open, self._buffer, self._whole = None, b"", 0

    @staticmethod
    def _ended() -> bytes:
        raise ConnectionError("the server closed the connection")


def _content_length(headers: bytes) -> int:
    for line in headers.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    raise ConnectionError("expected a Content-Length in the answer, as V2 servers send it")
