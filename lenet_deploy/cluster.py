"""A Ray cluster for a command: one that runs already, or one of this machine for its time."""

import contextlib
import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lenet_runtime.cpu import usable_cores
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError, first_line
from lenet_runtime.version import installed, pip_install

OLDEST = (2, 60)  # what was tried; the names of Ray's options change every few months
_CONNECT_S, _LEAVE_S = 5.0, 3.0


@contextlib.contextmanager
def connected(address: str | None, *, cpus: int | None = None) -> Iterator[Any]:
    """Be a driver of a Ray cluster, and afterwards no more; the value is the module `ray`.

    Args:
        address: ``auto`` for the cluster that this machine is part of, or ``HOST:PORT``; None
            starts one on this machine, on its loopback alone, and ends it.
        cpus: The cores of a cluster that is started; None for those that are ours.

    Raises:
        BackendUnavailable: Ray is not installed, or too old.
        InputError: The address is none.
        DeployError: No cluster answers there, or one of another version of Ray or Python.
    """
    prepare(address)
    import ray

    with contextlib.ExitStack() as stack:
        options: dict[str, Any] = {"address": address or "local", "log_to_driver": False}
        if address is None:
            folder = tempfile.mkdtemp(prefix="lenet-ray-")  # short: sockets lie in it
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            options |= {
                "_temp_dir": folder,
                "include_dashboard": False,
                "num_cpus": cpus or usable_cores(),
            }
        stack.callback(_shut_down, ray, is_own=address is None)  # also what Ctrl-C left half begun
        try:
            ray.init(logging_level=logging.ERROR, **options)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            place = f"at {address}" if address else "on this machine"
            raise DeployError(f"Ray: no cluster to use {place}: {first_line(error)}") from error
        yield ray


def _shut_down(ray: Any, *, is_own: bool) -> None:
    """Leave the cluster; of one's own, end what is left: after Ctrl-C, Ray forgets its agents."""
    started = _descendants() if is_own else {}
    ray.shutdown()
    end = time.monotonic() + _LEAVE_S
    while started and time.monotonic() < end:
        time.sleep(0.05)
        started = {pid: began for pid, began in started.items() if _began(pid) == began}
    for pid in started:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _descendants() -> dict[int, str]:
    """The processes that descend from this one, and when each began."""
    found = [os.getpid()]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, task.read_text().split())
    return {pid: _began(pid) for pid in found[1:]}


def _began(pid: int) -> str:
    """What tells a process from another one that gets its number; empty where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def prepare(address: str | None) -> None:
    """See that there is a Ray to import, and a cluster at the address; `connected` does so, too.

    What Ray reads when it is imported is set here: it reports to nobody.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:
        # Else Ray listens on the machine's outward address, whatever address it is told.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if find_spec("ray") is None:
        raise BackendUnavailable(f"this needs Ray, which is not installed; {pip_install('ray')}")
    version = installed("ray") or "0"
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise BackendUnavailable(
            f"Ray: expected {oldest} or later, found {version}; {pip_install('ray')}"
        )
    if address in (None, "auto"):
        return
    host, _, port = str(address).rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise InputError(f"address: expected auto or HOST:PORT, found {address!r}")
    try:  # Ray itself would try for a minute
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise DeployError(f"Ray: nothing listens at {address}: {first_line(error)}") from error
