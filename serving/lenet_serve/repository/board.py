"""`Board`: what clients asked of models, for all workers of a server, in one order.

Each worker has its own repository, and a control call reaches one of them. It writes the call on
the board, a file in memory that all of them inherited. Every worker reads there what all were asked
and does it in the order of the board, so that all come to the same end; one that was started again
begins at the first line.
"""

import contextlib
import fcntl
import os
import tempfile

_CHUNK = 2**16


class Board:
    """A list of lines that several processes write and read.

    Args:
        fd: The descriptor of a board that another process made; None makes a new one.

    Attributes:
        fd: The descriptor, for workers to inherit under the same number.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _file() if fd is None else fd
        self._read, self._rest = 0, b""

    def write(self, line: str) -> None:
        """Add a line behind all others."""
        os.write(self.fd, line.encode() + b"\n")

    def read(self) -> list[str]:
        """The lines that were added since this object read last."""
        while data := os.pread(self.fd, _CHUNK, self._read):
            self._read += len(data)
            self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        return [line.decode() for line in lines]


def _file() -> int:
    """A file without a name, to whose end all writes go."""
    fd = -1
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or not allowed
        fd = os.memfd_create("lenet-serve-control")
    if fd < 0:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
    return fd
