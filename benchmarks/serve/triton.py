"""A real Triton on this machine's CPU: unpacked from a wheel, started on loopback, ended.

The wheel of nvidia-pytriton 0.7.0 (55 MB) holds tritonserver 2.51. It is unpacked, not installed,
into `.triton/`, because its own requirements would replace NumPy. Needs Linux on x86-64, glibc
2.35, gcc and, for the python backend, libpython3.X.so.1.0 of this Python.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lenet_deploy.packaging import TARGETS, Package, write
from lenet_runtime import Artifact

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".triton"
WHEEL = "nvidia-pytriton==0.7.0"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Server:
    """A Triton that runs: its ports on 127.0.0.1, its process, seconds from start to ready."""

    http: int
    grpc: int
    pid: int
    ready_s: float


def install(cache: Path = CACHE) -> Path:
    """Download and unpack the wheel, once; returns the folder of tritonserver."""
    home = cache / "wheel" / "pytriton" / "tritonserver"
    if not (home / ".ready").exists():
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", cache, WHEEL],
            check=True,
        )
        (wheel,) = cache.glob("nvidia_pytriton-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(cache / "wheel")
        wheel.unlink()
        stub = home / "backends" / "python" / "triton_python_backend_stub"
        shutil.copy(home / "python_backend_stubs" / PYTHON / stub.name, stub)
        for program in (home / "bin" / "tritonserver", stub):
            program.chmod(0o755)
        (home / ".ready").touch()
    return home


def packaged(
    repository: Path,
    artifact: Path,
    flavour: str = "native",
    name: str = "lenet",
    environment: str = "",
) -> None:
    """Add a model to a repository, as `lenet-deploy package --target triton` makes it."""
    if flavour == "python" and not environment:
        environment = str(python_environment())
    options = {"flavour": flavour, "environment": environment}
    staged = repository.with_name(f".{name}")
    write(TARGETS["triton"], Package(Artifact.open(artifact), name, options), staged)
    repository.mkdir(exist_ok=True)
    (staged / name).rename(repository / name)
    shutil.rmtree(staged)


def python_environment(cache: Path = CACHE) -> Path:
    """Make an environment for the python backend, once: our runtime, and the NumPy it reads.

    Raises:
        OSError: This Python's shared library, which the backend's stub needs, is not here.
    """
    ctypes.CDLL(f"libpython{PYTHON}.so.1.0")
    environment = cache / f"python-{PYTHON}"
    if not (environment / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "numpy<2"]
        subprocess.run(pip, check=True)
        (environment / ".ready").touch()
    (packages(environment) / "lenet.pth").write_text(f"{ROOT / 'runtime'}\n")
    return environment


def packages(environment: Path) -> Path:
    """The site-packages of an environment."""
    return environment / "lib" / f"python{PYTHON}" / "site-packages"


@contextlib.contextmanager
def started(repository: Path, *options: str, prefix: tuple[str, ...] = ()) -> Iterator[Server]:
    """Run Triton on a model repository; at the end it has a second for clients that stay.

    Args:
        repository: The folder of models.
        options: More of its options.
        prefix: Words before the command, such as ``taskset -c 1``.

    Raises:
        RuntimeError: It did not become ready within a minute; says what it logged.
    """
    home = install()
    http, grpc, metrics = free_ports(3)
    command = [
        *prefix, str(home / "bin" / "tritonserver"), f"--model-repository={repository}",
        f"--backend-directory={home / 'backends'}", "--exit-timeout-secs=1",
        "--http-address=127.0.0.1", f"--http-port={http}",
        "--grpc-address=127.0.0.1", f"--grpc-port={grpc}",
        "--metrics-address=127.0.0.1", f"--metrics-port={metrics}", *options,
    ]  # fmt: skip
    shared = f"lenet-{http}-"  # memory that the python backend leaves behind in /dev/shm
    command.append(f"--backend-config=python,shm-region-prefix-name={shared}")
    log = repository.parent / f"{repository.name}.log"
    begin = time.monotonic()
    with log.open("wb") as file, subprocess.Popen(
        command, stdout=file, stderr=file, start_new_session=True
    ) as process:  # fmt: skip
        try:
            wait_ready(http, process, log)
            yield Server(http, grpc, process.pid, time.monotonic() - begin)
        finally:
            end(process)
            for region in Path("/dev/shm").glob(f"{shared}*"):
                region.unlink()


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a server that leads a session to end, and kill what is left of it."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def wait_ready(
    port: int, process: subprocess.Popen[bytes], log: Path, path: str = "/v2/health/ready"
) -> None:
    """Wait until a server that was started answers 200."""
    for _ in range(6000):
        if process.poll() is not None:
            break
        url = f"http://127.0.0.1:{port}{path}"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.01)
    process.kill()
    raise RuntimeError(f"{process.args!r} is not ready:\n{log.read_text(errors='replace')[-3000:]}")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
