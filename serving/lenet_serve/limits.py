"""How much one client, and all of them together, may ask for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of what is accepted; beyond them a request is refused, not slowed.

    Attributes:
        body_bytes: Bytes of a request's body, and of what it inflates to.
        received_bytes: Bytes of bodies that are being received, of all connections together.
        header_bytes: Bytes of a request's line and headers together.
        json_depth: Levels of brackets in a JSON body.
        rows: Images in a request.
        queued_rows: Images that wait or are computed, of all requests to a model together.
        queued_bytes: Bytes of these images.
        read_s: Seconds in which a request must have come whole.
        idle_s: Seconds after which a connection without a request is closed.
        connections: Open connections.
    """

    body_bytes: int = 16 * 2**20
    received_bytes: int = 256 * 2**20
    header_bytes: int = 32 * 2**10
    json_depth: int = 16
    rows: int = 4096
    queued_rows: int = 16384
    queued_bytes: int = 64 * 2**20
    read_s: float = 20.0
    idle_s: float = 75.0
    connections: int = 1024
