"""Listeners: how they are opened, and how they are closed without a connection lost."""

import contextlib
import ctypes
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_runtime.errors import DeployError

_SO_ATTACH_FILTER = 26  # Linux's
# In the kernel's packet filter: load TCP's flags; where SYN is set, drop it; else take it all.
_NO_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))


@dataclass(frozen=True)
class ServerOptions:
    """Where and how a server listens.

    Attributes:
        host: Address or name to listen on.
        http_port: Port of HTTP; 0 for any that is free.
        grpc_port: Port of gRPC; 0 for any that is free, None for no gRPC.
        uds: Path of a Unix socket for HTTP, instead of host and port.
        drain_delay: Seconds from SIGTERM, when the server says that it is not ready any more, to
            the moment when it takes no more connections.
        tls_cert, tls_key: Files of a certificate with its chain and of its key, as PEM.
        token: What clients must show as ``Authorization: Bearer TOKEN``; None asks for nothing.
        reuse_port: Whether other workers listen on the same ports.
        over_asgi: Whether to serve by uvicorn's own protocol and ASGI, which is slower: for tests,
            and for a uvicorn that `Connection` does not fit.
    """

    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int | None = None
    uds: Path | None = None
    drain_delay: float = 5.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    token: str | None = None
    reuse_port: bool = False
    over_asgi: bool = False

    @property
    def grpc_address(self) -> str:
        """Where gRPC listens, as grpcio writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.grpc_port}"


def listen(options: ServerOptions) -> socket.socket:
    """Open the listener for HTTP, before anything else of a server starts.

    Raises:
        DeployError: The address cannot be listened on.
    """
    address: Any
    try:
        if options.uds:
            where, family, address = str(options.uds), socket.AF_UNIX, str(options.uds)
            _remove_stale(options.uds)
        else:
            where = f"{options.host}:{options.http_port}"
            family, _, _, _, address = socket.getaddrinfo(
                options.host, options.http_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if options.reuse_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise DeployError(
            f"{where}: expected an address to listen on, found: {error.strerror or error}"
        ) from error
    listener.setblocking(False)
    return listener


def _remove_stale(path: Path) -> None:
    """Remove a Unix socket that nobody listens on any more."""
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                path.unlink()


def url(listener: socket.socket, options: ServerOptions) -> str:
    """How clients reach a listener."""
    if options.uds:
        return f"unix:{options.uds}"
    host, port = listener.getsockname()[:2]
    scheme = "https" if options.tls_cert else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def take_no_more(listener: socket.socket) -> None:
    """Have the kernel drop whoever asks for a connection from now on, and finish those it began.

    A listener that is closed resets connections that nobody has accepted yet, though their clients
    may have sent requests already. Who is dropped asks again a second later, and is refused then.
    Nothing happens on Unix sockets, and where the kernel has no such filter.
    """
    program = b"".join(struct.pack("HBBI", *line) for line in _NO_SYN)
    held = ctypes.create_string_buffer(program)
    pointed = struct.pack("HP", len(_NO_SYN), ctypes.addressof(held))
    if listener.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointed)


def taken_by(listener: socket.socket) -> list[socket.socket]:
    """Close a listener that does not block; the connections that the kernel had taken for it."""
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(listener.accept()[0])
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)  # at once, whoever else holds the socket
    return taken
