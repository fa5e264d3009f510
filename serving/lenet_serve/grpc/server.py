"""gRPC's server: the calls, health and reflection on grpcio, its threads and its drain.

grpcio's server with threads costs a third less than the one for asyncio. Bytes go in and out of it:
no generated code, no registration in the process's descriptor pool.
"""

import threading
from typing import TYPE_CHECKING

import grpc

from lenet_serve.grpc.handlers import Handlers
from lenet_serve.grpc.threads import Threads
from lenet_serve.service import Service

if TYPE_CHECKING:
    from lenet_serve.server import ServerOptions

_LOOK_S = 1.0  # between two looks at slow callers
_MOST = 2**31 - 1  # grpcio's options are int32


class GrpcServer:
    """Answers gRPC on one address.

    Args:
        service: Who answers.
        address: Where it listens: ``127.0.0.1:8001``, ``[::1]:0`` or ``unix:/run/lenet.sock``.
        tls: The certificate's chain and the private key, in PEM; None for neither.
        token: What each call's metadata must have as ``authorization: Bearer TOKEN``; None asks
            for none.
        threads: Calls that are computed, or wait for a batch, at most at a time.
        reuse_port: Whether other processes may listen on the same port, to share its connections.
    """

    def __init__(
        self,
        service: Service,
        address: str = "127.0.0.1:8001",
        *,
        tls: tuple[bytes, bytes] | None = None,
        token: str | None = None,
        threads: int = 32,
        reuse_port: bool = False,
    ) -> None:
        self._address, self._tls = address, tls
        self._pool = Threads(threads, "grpc")
        self._handlers = Handlers(service, token, self._pool.grow)
        self._stopped = threading.Event()
        limits = service.limits
        self._server = grpc.server(
            self._pool,
            handlers=(self._handlers,),
            options=[
                # Twice what is accepted: what lies between is refused with the option's name.
                ("grpc.max_receive_message_length", min(2 * limits.body_bytes, _MOST)),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", limits.header_bytes),
                ("grpc.absolute_max_metadata_size", limits.header_bytes),
                ("grpc.max_concurrent_streams", limits.connections),  # of one connection
                ("grpc.so_reuseport", int(reuse_port)),
            ],
            maximum_concurrent_rpcs=limits.connections,
        )

    @classmethod
    def of(cls, service: Service, options: "ServerOptions") -> "GrpcServer":
        """Make it as a server's options have it.

        Raises:
            OSError: A file of TLS cannot be read.
        """
        tls = None
        if options.tls_cert and options.tls_key:
            tls = options.tls_cert.read_bytes(), options.tls_key.read_bytes()
        return cls(
            service,
            options.grpc_address,
            tls=tls,
            token=options.token,
            reuse_port=options.reuse_port,
        )

    def start(self) -> int:
        """Listen and begin to answer.

        Returns:
            The port; for a Unix socket a number without meaning.

        Raises:
            OSError: Nothing can listen there.
        """
        try:
            if self._tls is None:
                port = self._server.add_insecure_port(self._address)
            else:
                chain, key = self._tls
                credentials = grpc.ssl_server_credentials([(key, chain)])
                port = self._server.add_secure_port(self._address, credentials)
        except RuntimeError as error:
            raise OSError(f"gRPC: cannot listen on {self._address}: {error}") from error
        self._server.start()
        threading.Thread(target=self._look, name="grpc-look", daemon=True).start()
        return int(port)

    def drain(self) -> None:
        """Say to those who ask for health that this server no longer serves; go on answering."""
        self._handlers.health.drain()

    def stop(self, seconds: float) -> None:
        """Stop without losing a call, and return when that is done.

        grpcio cancels what arrives between the moment in which it stops and the one in which the
        client hears of it. So answers are held until nothing arrives any more: whoever waits for an
        answer sends nothing; then it stops, and the answers go out behind the news.

        Args:
            seconds: How long calls that are being answered may go on, before they are cancelled.
        """
        self.drain()
        self._handlers.hold()
        stopped = self._server.stop(seconds)
        self._handlers.release()
        stopped.wait()
        self._stopped.set()
        self._handlers.close()
        self._pool.shutdown()

    def _look(self) -> None:
        while not self._stopped.wait(_LOOK_S):
            self._handlers.look()
            self._pool.look()
