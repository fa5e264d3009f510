"""The server's process: listeners, uvicorn around them, and the end that loses no request."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from lenet_runtime.errors import DeployError
from lenet_serve.http import asgi
from lenet_serve.service import Service

_LINGER = 0.5  # seconds that requests may still come on connections, once listeners are closed
_TICK = 0.1  # seconds between two looks at slow and idle connections


@dataclass(frozen=True)
class ServerOptions:
    """Where and how a server listens.

    Attributes:
        host: Address or name of the interface.
        http_port: Port of HTTP; 0 for any that is free.
        uds: Path of a Unix socket to listen on instead of host and port.
        drain_delay: Seconds from SIGTERM, when the server says that it is not ready any more, to
            the moment when it takes no more connections.
        tls_cert, tls_key: Files of a certificate with its chain and of its key, as PEM.
    """

    host: str = "127.0.0.1"
    http_port: int = 8000
    uds: Path | None = None
    drain_delay: float = 5.0
    tls_cert: Path | None = None
    tls_key: Path | None = None


def listen(options: ServerOptions) -> list[socket.socket]:
    """Open the listeners for HTTP, before anything else of a server starts.

    Raises:
        DeployError: The address cannot be listened on.
    """
    address: Any
    if options.uds:
        family, address = socket.AF_UNIX, str(options.uds)
    else:
        try:
            found = socket.getaddrinfo(
                options.host, options.http_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except OSError as error:
            raise DeployError(f"host: {options.host}: {error.strerror or error}") from error
        family, address = found[0][0], found[0][4]
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        where = options.uds or f"{options.host}:{options.http_port}"
        raise DeployError(
            f"{where}: expected an address to listen on, found: {error.strerror}"
        ) from error
    listener.setblocking(False)
    return [listener]


def url(listener: socket.socket, options: ServerOptions) -> str:
    """How clients reach a listener."""
    if options.uds:
        return f"unix:{options.uds}"
    host, port = listener.getsockname()[:2]
    scheme = "https" if options.tls_cert else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn's server with an end of its own.

    Args:
        service: What answers.
        options: How it is served.
    """

    def __init__(self, service: Service, options: ServerOptions) -> None:
        config = uvicorn.Config(
            asgi(service),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            interface="asgi3",
            ssl_certfile=options.tls_cert,
            ssl_keyfile=options.tls_key,
        )
        super().__init__(config)
        self._options = options

    def run_on(self, sockets: Sequence[socket.socket], on_ready: Callable[[], None]) -> None:
        """Serve on listeners until a signal, or `stop`, ends it."""
        loop_factory = self.config.get_loop_factory()
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(self._serve_on(list(sockets), on_ready))

    async def _serve_on(self, sockets: list[socket.socket], on_ready: Callable[[], None]) -> None:
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        with self._signals():
            await self.startup(sockets=sockets)
            on_ready()
            await self.main_loop()
            await self.shutdown(sockets=sockets)

    @contextlib.contextmanager
    def _signals(self) -> Any:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = signal.SIGTERM, signal.SIGINT
        before = {number: signal.signal(number, self._answer) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _answer(self, number: int, _: object) -> None:
        if self.should_exit:  # the second one
            os._exit(128 + number)
        self.should_exit = True


def run_worker(
    sockets: Sequence[socket.socket],
    service: Service,
    options: ServerOptions,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve on listeners that are open, in this process, until SIGTERM or SIGINT."""
    Server(service, options).run_on(sockets, on_ready)
