"""What systemd is told, where it started the server and waits for it (``Type=notify``)."""

import os
import socket


def notify(state: str) -> None:
    """Send a line such as ``READY=1`` to the service manager; do nothing where there is none.

    Raises:
        OSError: It does not listen.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    name = "\0" + address[1:] if address[0] == "@" else address  # of no file
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(state.encode(), name)
