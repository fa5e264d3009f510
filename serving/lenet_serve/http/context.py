"""`Context`: what endpoints know beyond the request."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from lenet_serve.service import Service


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, thread_name_prefix="lenet-http")


@dataclass
class Context:
    """What endpoints know beyond the request.

    Attributes:
        service: What answers inferences.
        held_bytes: Bytes of bodies that are being received, of all connections together.
        threads: Threads for what takes milliseconds, so that the loop never waits.
    """

    service: Service
    held_bytes: int = 0
    threads: ThreadPoolExecutor = field(default_factory=_threads)
