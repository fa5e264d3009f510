"""`Service`: models behind the protocol, without any network."""

import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import lenet_runtime
from lenet_serve.calls import Call, waited
from lenet_serve.errors import Code, ServeError
from lenet_serve.inputs import FILE
from lenet_serve.limits import Limits
from lenet_serve.metrics import Metrics
from lenet_serve.model import Model
from lenet_serve.models import Repository, StaticRepository
from lenet_serve.protocol.infer import InferRequest, InferResponse, Parameter, Times
from lenet_serve.recorder import Recorder

INLINE_ROWS = 64  # images that are computed in the caller's thread, 0.1 ms of ``native``
_RESERVED = frozenset(("sequence_start", "sequence_end", "timeout", "priority"))
_THREADS = 2  # that decode pictures and compute what is larger
EXTENSIONS = (
    "binary_tensor_data", "classification", "model_configuration", "model_repository",
    "parameters", "schedule_policy", "statistics",
)  # fmt: skip


class Service:
    """Answers requests for inference; thread-safe, and a context manager.

    Args:
        models: What is served: a repository, or models.
        limits: Bounds of what is accepted.
        metrics: What is told of each request; None counts them for this process alone.

    Attributes:
        repository: The models.
        limits, metrics: As given.
        draining: Whether the server is about to end; `ready` is then False. Requests that still
            come are answered.
    """

    def __init__(
        self,
        models: Repository | Iterable[Model],
        *,
        limits: Limits | None = None,
        metrics: Recorder | None = None,
    ) -> None:
        self.limits, self.metrics = limits or Limits(), metrics or Metrics()
        self.repository: Repository = (
            StaticRepository(models) if isinstance(models, Iterable) else models
        )
        for state in self.repository.index():
            if state.state == "READY":
                self.metrics.loaded(state.name, state.version)
        self.draining = False
        # Threads start with the first request that needs one.
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="lenet-serve")

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        name: str = "lenet",
        *,
        limits: Limits | None = None,
        max_batch: int | None = None,
        **options: Any,
    ) -> "Service":
        """Serve one artifact as version 1 of a model.

        Args:
            path: The artifact's folder.
            name: The model's name.
            limits: Bounds of what is accepted.
            max_batch: See `Model`.
            options: What `lenet_runtime.load` takes, such as ``trust=True``.

        Raises:
            DeployError: The artifact cannot be loaded; see `lenet_runtime.load`.
        """
        session = lenet_runtime.load(path, **options)
        return cls([Model(name, "1", session, limits=limits, max_batch=max_batch)], limits=limits)

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        return not self.draining and self.repository.ready

    def metadata(self) -> dict[str, Any]:
        """V2's metadata of the server."""
        extensions = list(EXTENSIONS)
        return {
            "name": "lenet-deploy", "version": lenet_runtime.__version__, "extensions": extensions
        }  # fmt: skip

    def model_metadata(self, name: str, version: str = "") -> dict[str, Any]:
        """V2's metadata of a model, with all of its versions that are ready.

        Raises:
            ServeError: See `Repository.get`.
        """
        model = self.repository.get(name, version)
        states = [state for state in self.repository.index() if state.name == name]
        versions = [state.version for state in states if state.state == "READY"]
        return model.metadata() | {"versions": versions}

    def index(self, *, only_ready: bool = False) -> list[dict[str, str]]:
        """V2's index of the repository: every version of every model, or those that are ready."""
        return [
            {"name": s.name, "version": s.version, "state": s.state, "reason": s.reason}
            for s in self.repository.index()
            if s.state == "READY" or not only_ready
        ]

    def statistics(self, name: str = "", version: str = "") -> list[dict[str, Any]]:
        """V2's statistics of a model; without a name, those of all versions that are ready.

        Raises:
            ServeError: See `Repository.get`.
        """
        if name:
            model = self.repository.get(name, version)
            models = [(model.name, model.version)]
        else:
            models = [(s.name, s.version) for s in self.repository.index() if s.state == "READY"]
        return [self.metrics.statistics(*model) for model in models]

    def load(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Load a model, or what is new of it; see `Repository.load`.

        Args:
            name: The model's name.
            parameters: What the client sent with it, a configuration, or files: there may be none.

        Raises:
            ServeError: There are parameters, or see `Repository.load`.
        """
        if parameters:
            raise ServeError(
                "parameters: expected none; models come from the server's folder alone"
            )
        self.repository.load(name)

    def submit(
        self, request: InferRequest, deadline: float | None = None
    ) -> InferResponse | Future[InferResponse]:
        """Begin an inference; it never waits.

        What takes microseconds is computed here and now, in the caller's thread, and answered;
        all else is answered by a future. Either may raise. A future that is cancelled before its
        turn comes costs nothing more.

        Args:
            request: The request.
            deadline: The moment of `time.monotonic` after which nobody waits for the answer; None
                for none. The request's parameter ``timeout``, microseconds, may name an earlier
                one.

        Raises:
            ServeError: The request is refused, the service is busy, or the deadline has passed.
        """
        call = self._begin(request, deadline)
        inputs, large = request.inputs, call.rows > INLINE_ROWS
        pictures = bool(inputs) and inputs[0].name == FILE
        if pictures or (large and not call.model.batcher.batches):
            call.wait()
            future = self._pool.submit(call.whole)
            future.add_done_callback(call.settle)
            return future
        if not large and call.model.session.device == "cpu" and (answer := call.inline()):
            return answer
        return call.queued()

    def infer(self, request: InferRequest, deadline: float | None = None) -> InferResponse:
        """Answer a request; see `submit`. It waits, at most until the deadline."""
        call = self._begin(request, deadline)
        answer = call.inline()
        if answer is not None:
            return answer
        return waited(call.queued(), call.deadline)

    def refused(
        self,
        name: str,
        version: str,
        *,
        protocol: str,
        code: Code,
        total_ns: int = 0,
        request: InferRequest | None = None,
    ) -> None:
        """Count a request that is refused before it is admitted, by an adapter or by `submit`.

        Args:
            name, version: What the request named; a label only if there is such a model.
            protocol, code: See `Recorder.record`.
            total_ns: Nanoseconds that it took.
            request: What is known of the request, for logs and traces.
        """
        try:
            model = self.repository.get(name, version)
            name, version = model.name, model.version
        except ServeError:
            name = version = ""
        self.metrics.record(
            name,
            version,
            protocol=protocol,
            code=code,
            rows=0,
            times=Times(total_ns=total_ns),
            request=request,
        )

    def close(self) -> None:
        """Answer what is under way, and close the models."""
        self.draining = True
        self.repository.close()  # which still needs the pool
        self._pool.shutdown()

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, request: InferRequest, deadline: float | None) -> Call:
        """Find the model, and be admitted to it."""
        if not request.begun_ns:
            request.begun_ns = time.perf_counter_ns()
        closed: Model | None = None
        try:
            if not _RESERVED.isdisjoint(request.parameters):
                deadline = _earlier(request.parameters, deadline)
            while True:
                model = self.repository.get(request.model, request.version)
                rows, size = model.size(request)
                if model.admission.enter(rows, size):
                    return Call(request, model, deadline, self.metrics, rows=rows, size=size)
                if model is closed:  # else another took its place just now
                    raise ServeError("the model is shutting down", Code.UNAVAILABLE, retry_after=1)
                closed = model
        except ServeError as error:
            self.refused(
                request.model, request.version, protocol=request.protocol, code=error.code,
                total_ns=time.perf_counter_ns() - request.begun_ns, request=request,
            )  # fmt: skip
            raise


def _earlier(parameters: dict[str, Parameter], deadline: float | None) -> float | None:
    """The earlier of a deadline and that of the reserved parameter ``timeout``, in microseconds.

    The other reserved parameters are the scheduler's and the sequences' of Triton. They mean
    nothing to a model without state, whose requests are equal; values of another type than
    Triton's are refused all the same.
    """
    for name in ("sequence_start", "sequence_end"):
        if type(parameters.get(name, False)) is not bool:
            raise ServeError(f"parameters.{name}: expected true or false, found another")
    for name in ("timeout", "priority"):
        value = parameters.get(name, 0)
        if type(value) is not int or value < 0:
            raise ServeError(f"parameters.{name}: expected an integer of at least 0, found another")
    timeout = parameters.get("timeout", 0)
    if not timeout:
        return deadline
    own = time.monotonic() + float(timeout) / 1e6
    return own if deadline is None else min(own, deadline)
