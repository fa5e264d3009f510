"""`Observer`: all that wants to know of a request, told by one call."""

from lenet_serve.counters import Counters
from lenet_serve.errors import Code
from lenet_serve.logs import RequestLog
from lenet_serve.metrics import Metrics
from lenet_serve.protocol.infer import InferRequest, Times
from lenet_serve.tracing import Tracer


class Observer(Metrics):
    """Counts requests as `Metrics` does, and traces and logs them.

    Args:
        counters, worker: See `Metrics`.
        log: What logs them; None for nothing.
        tracer: What makes spans of them; None for none.
    """

    def __init__(
        self,
        counters: Counters | None = None,
        worker: int = 0,
        *,
        log: RequestLog | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        super().__init__(counters, worker)
        # The log shows the span's trace.
        self._others: list[Tracer | RequestLog] = [each for each in (tracer, log) if each]

    def record(
        self,
        model: str,
        version: str,
        *,
        protocol: str,
        code: Code | None,
        rows: int,
        times: Times,
        request: InferRequest | None = None,
    ) -> None:
        """Tell everyone of a request that has ended; see `lenet_serve.recorder.Recorder`."""
        super().record(model, version, protocol=protocol, code=code, rows=rows, times=times)
        for other in self._others:
            other.record(model, version, protocol=protocol, code=code, rows=rows, times=times,
                         request=request)  # fmt: skip
