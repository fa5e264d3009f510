"""Starts our server in a process of its own, as its command does."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.serve.triton import free_ports, wait_ready


@contextlib.contextmanager
def started(artifact: Path, *options: str) -> Iterator[tuple[int, int]]:
    """Serve an artifact; yields the ports of HTTP and gRPC."""
    http, grpc = free_ports(2)
    command = [
        sys.executable, "-m", "lenet_deploy", "serve", str(artifact), "--trust",
        "--http-port", str(http), "--grpc-port", str(grpc), "--drain-delay", "0", *options,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        with log.open("wb") as file, subprocess.Popen(command, stderr=file) as process:
            try:
                wait_ready(http, process, log)
                yield http, grpc
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
