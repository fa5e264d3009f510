"""A server from its options to its end: one process, or several behind one port."""

import contextlib
import ctypes
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from lenet_runtime.errors import DeployError
from lenet_serve import logs, tracing
from lenet_serve.limits import Limits
from lenet_serve.logs import RequestLog
from lenet_serve.notify import notify
from lenet_serve.observer import Observer
from lenet_serve.repository import FolderRepository, RepositoryOptions
from lenet_serve.server import Server, ServerOptions, listen, url
from lenet_serve.service import Service
from lenet_serve.worker import Worker
from lenet_serve.workers import reserve, supervise

# Of glibc's malloc, which else gives threads up to eight heaps a core, each of which keeps what it
# once grew to: a worker's memory rose for as long as large requests came. The number is malloc.h's.
_M_ARENA_MAX, _ARENAS = -8, 2


@dataclass(frozen=True)
class Plan:
    """What is served, where, and by how many processes.

    Attributes:
        repository: What is served.
        server: Where.
        limits: Bounds of what is accepted.
        workers: Processes.
        log_format: How each request is logged, one of `lenet_serve.logs.FORMATS`; None logs those
            that fail alone, as text.
        log_sample: The share of answered requests that is logged.
    """

    repository: RepositoryOptions
    server: ServerOptions = field(default_factory=ServerOptions)
    limits: Limits = field(default_factory=Limits)
    workers: int = 1
    log_format: str | None = None
    log_sample: Fraction = Fraction(1)


def launch(plan: Plan, say: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; call it in the main thread.

    Args:
        plan: What is to be done.
        say: Called once all answers, with a line that tells the addresses; systemd is told then,
            too, where it waits for it.

    Returns:
        The exit code: 0 after a drain.

    Raises:
        DeployError: An address cannot be listened on, or there is nothing to serve.
    """

    def ready(line: str) -> None:
        say(line)
        notify("READY=1")

    if plan.workers > 1:
        return _several(plan, ready)
    listener = listen(plan.server)  # first, as what takes no time and fails most often
    with listener, _service(plan) as (service, repository):
        _run(Server(service, plan.server), listener, repository, ready)
    return 0


@contextlib.contextmanager
def _service(
    plan: Plan, worker: Worker | None = None
) -> Iterator[tuple[Service, FolderRepository]]:
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_ARENA_MAX, _ARENAS)
    counters, number = (worker.counters, worker.number) if worker else (None, None)
    logs.configure(plan.log_format or "text", worker=number)
    log = RequestLog(plan.log_sample if plan.log_format else Fraction(0))
    with contextlib.ExitStack() as ended:
        tracer = tracing.Tracer() if tracing.is_configured() else None
        if tracer:
            ended.callback(tracer.close)
        observer = Observer(counters, number or 0, log=log, tracer=tracer)
        repository = FolderRepository(plan.repository, limits=plan.limits, metrics=observer)
        service = Service(repository, limits=plan.limits, metrics=observer)
        yield ended.enter_context(service), repository


def _run(
    server: Server,
    listener: socket.socket,
    repository: FolderRepository,
    say: Callable[[str], None],
) -> None:
    """Serve; live at once, and ready when the models are."""
    failed: list[DeployError] = []

    def wait() -> None:
        try:
            repository.wait()
        except DeployError as error:
            failed.append(error)
            server.stop(at_once=True)
        else:
            say(f"ready: {server.addresses}")

    def started() -> None:
        threading.Thread(target=wait, name="models", daemon=True).start()

    server.run_on(listener, started, repository.reload)
    if failed:
        raise failed[0]


def _several(plan: Plan, say: Callable[[str], None]) -> int:
    """Keep the ports, and workers that share them."""
    logs.configure(plan.log_format or "text")
    options = plan.server
    with contextlib.ExitStack() as ports:
        try:
            http = ports.enter_context(reserve(options.host, options.http_port))
            options = replace(options, http_port=http.getsockname()[1], reuse_port=True)
            addresses = url(http, options)
            if options.grpc_port is not None:
                grpc = ports.enter_context(reserve(options.host, options.grpc_port))
                options = replace(options, grpc_port=grpc.getsockname()[1])
                addresses += f" grpc: {options.grpc_address}"
        except OSError as error:
            taken = [str(port) for port in (options.http_port, options.grpc_port) if port]
            raise DeployError(
                f"{options.host}: expected free ports {' and '.join(taken)}, found: "
                f"{error.strerror or error}"
            ) from error
        shared = replace(plan, server=options)
        return supervise(
            _work, shared, workers=plan.workers, on_ready=lambda: say(f"ready: {addresses}")
        )


def _work(worker: Worker, plan: Plan) -> int:
    """Serve as one of several: on the shared port, once the models are there."""
    with _service(plan, worker) as (service, repository):
        repository.on_control = lambda action, name: worker.tell(f"{action} {name}")
        worker.on_told = lambda text: repository.apply(*text.split(" ", 1))
        repository.wait()
        with listen(plan.server) as listener:
            _run(Server(service, plan.server), listener, repository, lambda _: worker.ready())
    return 0
