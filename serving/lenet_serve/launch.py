"""A server from its options to its end: one process, or several behind one port."""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from lenet_runtime.errors import BackendUnavailable, DeployError
from lenet_serve.limits import Limits
from lenet_serve.metrics import Metrics
from lenet_serve.repository import FolderRepository, RepositoryOptions
from lenet_serve.server import Server, ServerOptions, listen, url
from lenet_serve.service import Service
from lenet_serve.worker import Worker
from lenet_serve.workers import reserve, supervise

_log = logging.getLogger(__name__)
FAILURE, UNAVAILABLE = 1, 4  # exit codes


@dataclass(frozen=True)
class Plan:
    """What is served, where, and by how many processes.

    Attributes:
        repository: What is served.
        server: Where.
        limits: Bounds of what is accepted.
        workers: Processes.
    """

    repository: RepositoryOptions
    server: ServerOptions = field(default_factory=ServerOptions)
    limits: Limits = field(default_factory=Limits)
    workers: int = 1


def launch(plan: Plan, say: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; call it in the main thread.

    Args:
        plan: What is to be done.
        say: Called once all answers, with a line that tells the addresses.

    Returns:
        The exit code: 0 after a drain.

    Raises:
        DeployError: An address cannot be listened on, or there is nothing to serve.
    """
    if plan.workers > 1:
        return _several(plan, say)
    listener = listen(plan.server)  # first, as what takes no time and fails most often
    with listener, _service(plan, Metrics()) as (service, repository):
        _run(Server(service, plan.server), listener, repository, say)
    return 0


@contextlib.contextmanager
def _service(plan: Plan, metrics: Metrics) -> Iterator[tuple[Service, FolderRepository]]:
    repository = FolderRepository(plan.repository, limits=plan.limits, metrics=metrics)
    with Service(repository, limits=plan.limits, metrics=metrics) as service:
        yield service, repository


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
            raise DeployError(
                f"{options.host}: expected free ports, found: {error.strerror or error}"
            ) from error
        shared = replace(plan, server=options)
        return supervise(
            _work, shared, workers=plan.workers, on_ready=lambda: say(f"ready: {addresses}")
        )


def _work(worker: Worker, plan: Plan) -> int:
    """Serve as one of several: on the shared port, once the models are there."""
    try:
        with _service(plan, Metrics(worker.counters, worker.number)) as (service, repository):
            repository.wait()
            with listen(plan.server) as listener:
                _run(Server(service, plan.server), listener, repository, lambda _: worker.ready())
    except DeployError as error:
        _log.error("%s", error)
        return UNAVAILABLE if isinstance(error, BackendUnavailable) else FAILURE
    return 0
