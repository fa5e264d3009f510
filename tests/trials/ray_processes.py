"""A Ray cluster of one machine for trials: on its loopback, and nothing of it stays."""

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_LOOPBACK = ("127.", "[::1]", "[::ffff:127.")
BIN = Path(sys.executable).parent


def environment():
    """What every process of the cluster, and every driver, is told."""
    os.environ.update(
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # or Ray takes the outward address
        RAY_USAGE_STATS_ENABLED="0",
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=secrets.token_hex(32),  # or Ray writes one into the home folder
        RAY_DISABLE_IMPORT_WARNING="1",
    )


def free_port():
    """One that the kernel gives to nobody who asks for any, as Ray's processes do meanwhile."""
    while True:
        with contextlib.suppress(OSError):
            port = random.randrange(20000, 30000)
            socket.create_server(("127.0.0.1", port)).close()
            return port


@dataclass(frozen=True)
class Cluster:
    """Where a cluster is: what drivers connect to, two of its URLs, and its folder."""

    address: str
    dashboard: str
    metrics: str
    folder: Path


@contextlib.contextmanager
def cluster(cpus, **more):
    """Start a cluster, of which this process is a driver; afterwards all of it is gone.

    Args:
        cpus: Cores that it believes in.
        more: Variables of its environment.
    """
    environment()
    os.environ.update(more)
    import ray

    folder = Path(tempfile.mkdtemp(prefix="rt-"))
    dashboard, metrics = free_port(), free_port()
    try:
        context = ray.init(
            num_cpus=cpus, include_dashboard=True, dashboard_port=dashboard, log_to_driver=False,
            logging_level="ERROR", object_store_memory=200 << 20, _temp_dir=str(folder),
            _node_ip_address="127.0.0.1", _metrics_export_port=metrics,
            _system_config={"metrics_report_interval_ms": 1000},
        )  # fmt: skip
        urls = (f"http://127.0.0.1:{port}" for port in (dashboard, metrics))
        yield Cluster(context.address_info["gcs_address"], *urls, folder)
    finally:
        ray.shutdown()
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not of_cluster(folder), 10)
        for pid in of_cluster(folder):
            print(f"left behind, and ended: {pid} {name(pid)[:100]}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(is_so, seconds, process=None):
    """Wait until something is so; seconds that it took."""
    begin = time.monotonic()
    while not is_so():
        assert time.monotonic() - begin < seconds, f"not so after {seconds} s"
        assert process is None or process.poll() is None, f"{process.args} ended"
        time.sleep(0.02)
    return time.monotonic() - begin


def of_cluster(folder):
    """The processes that name the cluster's folder, or that began with it in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                if str(folder).encode() in text or os.environ["RAY_AUTH_TOKEN"].encode() in text:
                    found.append(int(entry.name))
    return found


def name(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return ""


def called(folder, begin):
    """The cluster's processes whose name begins so, such as ``ray::ServeReplica``."""
    return sorted(pid for pid in of_cluster(folder) if name(pid).startswith(begin))


def listens_outside():
    """Sockets of this machine that listen on more than the loopback, by what listens."""
    shown = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=False).stdout
    lines = [line for line in shown.splitlines() if "ray" in line]
    return [line for line in lines if not line.split()[3].startswith(_LOOPBACK)]
