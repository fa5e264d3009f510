"""The servers that are compared: how each is installed and started, and what it understands."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.serve import triton

ROOT = triton.ROOT
HERE = triton.HERE
OURS = "lenet-deploy"
BASELINE = "Triton, our C"
# What each peer is installed from, in an environment of its own. LitServe and BentoML would take
# slower event loops and parsers without the last two.
FAST = ("numpy", "httptools", "uvloop")
REQUIREMENTS = {
    "MLServer": (
        "mlserver==1.7.1",
        *FAST,
        "uvloop<0.22",
    ),  # with later ones its worker does not start
    "LitServe": ("litserve==0.2.19", *FAST),
    "BentoML": ("bentoml==1.4.40", *FAST),
}
# They report to their makers unless told not to.
SILENT = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1", "LITSERVE_NO_ANALYTICS": "1"}


@dataclass(frozen=True)
class Work:
    """What every peer serves: the artifact, a folder of its own, and the words before its command.

    Attributes:
        artifact: An exported folder of format ``native``.
        scratch: An empty folder.
        prefix: ``taskset`` and the core.
    """

    artifact: Path
    scratch: Path
    prefix: tuple[str, ...]


Start = Callable[[Work], contextlib.AbstractContextManager[triton.Server]]


@dataclass(frozen=True)
class Peer:
    """A server: how it starts, and the bodies that it understands."""

    start: Start
    bodies: tuple[str, ...]


@contextlib.contextmanager
def process(
    work: Work, words: list[str], http: int, grpc: int, path: str, **environment: str
) -> Iterator[triton.Server]:
    """Run a server's command until the end, when SIGTERM has three seconds."""
    log = work.scratch / "log"
    paths = os.pathsep.join([str(HERE), str(ROOT / "runtime"), os.environ.get("PYTHONPATH", "")])
    env = os.environ | SILENT | {"PYTHONPATH": paths, "ARTIFACT": str(work.artifact)} | environment
    begin = time.monotonic()
    with log.open("wb") as file, subprocess.Popen(
        [*work.prefix, *words], stdout=file, stderr=file, env=env, cwd=work.scratch,
        start_new_session=True,
    ) as started:  # fmt: skip
        try:
            triton.wait_ready(http, started, log, path)
            yield triton.Server(http, grpc, started.pid, time.monotonic() - begin)
        finally:
            triton.end(started)


def command(artifact: Path, http: int, grpc: int) -> list[str]:
    """The command line of our server."""
    return [sys.executable, "-m", "lenet_deploy", "serve", str(artifact), "--trust",
            "--http-port", str(http), "--grpc-port", str(grpc)]  # fmt: skip


@contextlib.contextmanager
def ours(work: Work, *options: str) -> Iterator[triton.Server]:
    """The command, as anybody starts it."""
    http, grpc = triton.free_ports(2)
    words = [*command(work.artifact, http, grpc), *options]
    with process(work, words, http, grpc, "/v2/health/ready") as server:
        yield server


def triton_with(flavour: str) -> Start:
    """Triton, with one of our two ways to be its model."""

    @contextlib.contextmanager
    def start(work: Work) -> Iterator[triton.Server]:
        repository = work.scratch / "models"
        triton.packaged(repository, work.artifact, flavour)
        config = repository / "lenet" / "config.pbtxt"
        if flavour == "native":  # which answers sooner without, and is to be at its best here
            config.write_text(config.read_text().replace("dynamic_batching {}\n", ""))
        with triton.started(repository, prefix=work.prefix) as server:
            yield server

    return start


@contextlib.contextmanager
def mlserver(work: Work, workers: int) -> Iterator[triton.Server]:
    """MLServer computes in `workers` processes beside its own; with none, in its own."""
    http, grpc, metrics = triton.free_ports(3)
    (work.scratch / "settings.json").write_text(
        f'{{"host": "127.0.0.1", "http_port": {http}, "grpc_port": {grpc}, "debug": false, '
        f'"metrics_port": {metrics}, "parallel_workers": {workers}}}'
    )
    (work.scratch / "model-settings.json").write_text(
        '{"name": "lenet", "implementation": "app_mlserver.Lenet"}'
    )
    words = [str(environment("MLServer") / "mlserver"), "start", "."]
    with process(work, words, http, grpc, "/v2/health/ready") as server:
        yield server


@contextlib.contextmanager
def litserve(work: Work) -> Iterator[triton.Server]:
    """Its server's process and its worker's."""
    (http,) = triton.free_ports(1)
    words = [str(environment("LitServe") / "python"), str(HERE / "app_litserve.py"), str(http)]
    with process(work, words, http, 0, "/health") as server:
        yield server


@contextlib.contextmanager
def bentoml(work: Work) -> Iterator[triton.Server]:
    """One worker."""
    (http,) = triton.free_ports(1)
    words = [str(environment("BentoML") / "bentoml"), "serve", "app_bentoml:Lenet",
             "--working-dir", str(HERE), "--host", "127.0.0.1", "--port", str(http)]  # fmt: skip
    with process(work, words, http, 0, "/readyz", BENTOML_HOME=str(work.scratch)) as server:
        yield server


def environment(name: str) -> Path:
    """Make a peer's environment, once; returns the folder of its programs."""
    folder = ROOT / f".venv-serve-{name.lower()}"
    if not (folder / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *REQUIREMENTS[name]], check=True)
        (folder / ".ready").touch()
    return folder / "bin"


PEERS: dict[str, Peer] = {
    OURS: Peer(ours, ("JSON", "pixels JSON", "binary", "gRPC")),
    BASELINE: Peer(triton_with("native"), ("JSON", "binary", "gRPC")),
    "Triton, our runtime": Peer(triton_with("python"), ("JSON", "binary", "gRPC")),
    "MLServer": Peer(partial(mlserver, workers=1), ("JSON", "gRPC")),  # its default
    "MLServer, no workers": Peer(partial(mlserver, workers=0), ("JSON", "gRPC")),
    "LitServe": Peer(litserve, ("JSON",)),
    "BentoML": Peer(bentoml, ("JSON",)),
}
