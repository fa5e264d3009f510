"""Starts our server in a process of its own, as its command does."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.serve import peers


@contextlib.contextmanager
def started(artifact: Path) -> Iterator[tuple[int, int]]:
    """Serve an artifact; yields the ports of HTTP and gRPC."""
    with tempfile.TemporaryDirectory() as scratch:
        work = peers.Work(artifact.resolve(), Path(scratch), ())
        with peers.ours(work, "--drain-delay", "0") as server:
            yield server.http, server.grpc
