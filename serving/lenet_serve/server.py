"""One process that serves: listeners, uvicorn around them, and an end that loses no request."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import uvicorn

from lenet_runtime.errors import DeployError
from lenet_serve.http.application import Application
from lenet_serve.http.asgi import asgi
from lenet_serve.http.connection import Connection
from lenet_serve.listening import ServerOptions, listen, take_no_more, taken_by, url
from lenet_serve.service import Service

__all__ = ["Server", "ServerOptions", "listen", "url"]

_HANDSHAKE = 0.1  # seconds in which clients finish the connections that they have begun
_LINGER = 0.5  # seconds in which requests still come on connections, once listeners are closed
_GRACE = 30.0  # seconds for what is under way then
_TICK, _IDLE_TICK = 0.25, 1.0  # seconds between two looks at slow and idle connections


class Server(uvicorn.Server):
    """uvicorn's server with a beginning and an end of its own.

    Args:
        service: What answers.
        options: How it is served.

    Attributes:
        addresses: How clients reach it, once it runs.
    """

    addresses = ""

    def __init__(self, service: Service, options: ServerOptions) -> None:
        self._service, self._options = service, options
        self._application = Application(service, options.token)
        limits = service.limits
        uses_asgi = options.over_asgi or not _fits()
        super().__init__(
            uvicorn.Config(
                asgi(self._application),
                http="httptools" if uses_asgi else self._connection,  # type: ignore[arg-type]
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                interface="asgi3",
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=max(1, int(limits.idle_s)),
                limit_concurrency=limits.connections if uses_asgi else None,
                ssl_certfile=options.tls_cert,
                ssl_keyfile=options.tls_key,
            )
        )
        self._stop = asyncio.Event()
        self._at_once = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._grpc: Any = None

    def run_on(
        self,
        listener: socket.socket,
        on_start: Callable[[], None] = lambda: None,
        on_hangup: Callable[[], None] = lambda: None,
    ) -> None:
        """Serve on a listener until SIGTERM or SIGINT, or `stop`, ends it.

        Args:
            listener: What `listen` opened.
            on_start: Called once requests are answered.
            on_hangup: Called at SIGHUP.

        Raises:
            DeployError: gRPC's address cannot be listened on.
        """
        with asyncio.Runner(loop_factory=self.config.get_loop_factory()) as runner:
            runner.run(self._serve_on(listener, on_start, on_hangup))

    def stop(self, *, at_once: bool = False) -> None:
        """Do as at SIGTERM; from any thread.

        Args:
            at_once: Not to wait `ServerOptions.drain_delay` first.
        """
        assert self._loop is not None
        self._at_once = at_once
        self._loop.call_soon_threadsafe(self._stop.set)

    async def _serve_on(
        self,
        listener: socket.socket,
        on_start: Callable[[], None],
        on_hangup: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        self.addresses = url(listener, self._options)
        if self._options.grpc_port is not None:
            self._start_grpc()
        with self._signals(self._loop, on_hangup):
            await self.startup(sockets=[listener])
            await self.on_tick(0)
            on_start()
            await self._until_stopped()
            await self._drain(listener)

    def _start_grpc(self) -> None:
        from lenet_serve.grpc import GrpcServer  # needs an extra of its own

        self._grpc = GrpcServer.of(self._service, self._options)
        try:
            port = self._grpc.start()
        except OSError as error:
            raise DeployError(error) from error
        self.addresses += f" grpc: {replace(self._options, grpc_port=port).grpc_address}"

    @contextlib.contextmanager
    def _signals(
        self, loop: asyncio.AbstractEventLoop, on_hangup: Callable[[], None]
    ) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        loop.add_signal_handler(signal.SIGHUP, on_hangup)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _signalled(self, number: int) -> None:
        if self._stop.is_set():  # the second one
            os._exit(128 + number)
        # Who presses Ctrl-C sits before it, and no load balancer has to hear of it first.
        self._at_once = number == signal.SIGINT
        self._stop.set()

    async def _until_stopped(self) -> None:
        while not self._stop.is_set():
            tick = _TICK if self.server_state.connections else _IDLE_TICK
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(tick):
                    await self._stop.wait()
            await self._tick()

    async def _tick(self) -> None:
        await self.on_tick(0)  # the date that replies tell
        assert self._loop is not None
        now = self._loop.time()
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.look(now)

    async def _sleep(self, seconds: float) -> None:
        assert self._loop is not None
        end = self._loop.time() + seconds
        while (left := end - self._loop.time()) > 0:
            await asyncio.sleep(min(left, _TICK))
            await self._tick()

    async def _drain(self, listener: socket.socket) -> None:
        """Say that it is over, wait until clients know, answer what still comes, and end."""
        self._service.draining = True
        if self._grpc:
            self._grpc.drain()
        await self._sleep(0.0 if self._at_once else self._options.drain_delay)
        await self._close(listener)
        if self._grpc:
            grpc_ends = asyncio.create_task(asyncio.to_thread(self._grpc.stop, _GRACE))
        await self._sleep(_LINGER)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                while self.server_state.connections:
                    await asyncio.sleep(0.02)
        if self._grpc:
            await grpc_ends

    async def _close(self, listener: socket.socket) -> None:
        """Take no more connections, but serve those that the kernel had taken."""
        take_no_more(listener)
        await self._sleep(_HANDSHAKE)
        taken = taken_by(listener)
        for server in self.servers:
            server.close()
        if self._options.uds:
            self._options.uds.unlink(missing_ok=True)
        assert self._loop is not None
        for connection in taken:
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                await self._loop.connect_accepted_socket(
                    self._accept, connection, ssl=self.config.ssl
                )

    def _accept(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state={}, _loop=self._loop
        )
        return protocol

    def _connection(self, *, server_state: Any, _loop: Any = None, **_: Any) -> Connection:
        return Connection(self._application, server_state, _loop or asyncio.get_running_loop())


def _fits() -> bool:
    """Whether this uvicorn has what `Connection` takes from it; tried with 0.54."""
    from uvicorn.server import ServerState

    state: Any = ServerState()
    return isinstance(getattr(state, "connections", None), set) and isinstance(
        getattr(state, "default_headers", None), list
    )
