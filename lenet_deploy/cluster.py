"""A Ray cluster for a command: one that runs already, or one of this machine for its time."""

import contextlib
import logging
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from lenet_runtime.cpu import usable_cores
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError, first_line
from lenet_runtime.version import installed, pip_install

OLDEST = (2, 60)  # what was tried; the names of Ray's options change every few months
_CONNECT_S = 5.0


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
        stack.callback(ray.shutdown)  # also of what Ctrl-C left half begun
        try:
            ray.init(logging_level=logging.ERROR, **options)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            place = f"at {address}" if address else "on this machine"
            raise DeployError(f"Ray: no cluster to use {place}: {first_line(error)}") from error
        yield ray


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
