"""Our metrics by Ray's own way: each node's Ray exports those of its replicas to Prometheus."""

from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from lenet_serve import counters
from lenet_serve.errors import Code
from lenet_serve.protocol.infer import InferRequest, Times
from lenet_serve.recorder import Recorder

_MODEL = ("model", "version")
_SECONDS = [bound / 1e9 for bound in counters.BOUNDS_NS]
_IMAGES = [2**power for power in range(13)]
_ELSEWHERE = b"""\
# This is one replica of several, whose counts are not the application's. Ray exports those of all
# under ray_lenet_..., at the metrics port of each node.
"""


class RayMetrics(Recorder):
    """Counts requests under the names of `lenet_serve.metrics`, with Ray's ``ray_`` before them."""

    def __init__(self) -> None:
        self._requests = Counter(
            "lenet_requests_total", "Requests that have ended, by the status of HTTP or gRPC.",
            (*_MODEL, "protocol", "code"),
        )  # fmt: skip
        self._images = Counter("lenet_images_total", "Images of answered requests.", _MODEL)
        self._reloads = Counter(
            "lenet_reloads_total", "Models loaded in place of others, or that failed to load.",
            ("outcome",),
        )  # fmt: skip
        self._request, self._queue, self._compute = (
            Histogram(f"lenet_{name}_seconds", text, _SECONDS, _MODEL)
            for name, text in (
                ("request", "First to last byte of answered requests, in the replica."),
                ("queue", "Wait of answered requests for their computation, in the replica."),
                ("compute", "Input, inference and output of answered requests."),
            )
        )
        self._batch = Histogram(
            "lenet_batch_size", "Images that the engine computed at once.", _IMAGES, _MODEL
        )
        self._waiting: dict[tuple[str, str], int] = {}
        self._pending = Gauge(
            "lenet_pending_requests", "Requests that wait for their computation.", _MODEL
        )

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
        """Count a request that has ended; see `Recorder`."""
        tags = {"model": model, "version": version}
        status: Any = "200" if code is None else code.http
        if protocol == "grpc":
            status = "OK" if code is None else code.grpc
        self._requests.inc(1, tags | {"protocol": protocol, "code": str(status)})
        if code is not None:
            return
        self._images.inc(rows, tags)
        self._request.observe(times.total_ns / 1e9, tags)
        self._queue.observe(times.queue_ns / 1e9, tags)
        compute_ns = times.input_ns + times.infer_ns + times.output_ns
        self._compute.observe(compute_ns / 1e9, tags)
        if times.batch:  # else it ran along with another, which says how many they were
            self._batch.observe(times.batch, tags)

    def pending(self, model: str, version: str, change: int) -> None:
        """Count a request that begins (1) or ends (-1) to wait for the engine."""
        waiting = self._waiting[model, version] = self._waiting.get((model, version), 0) + change
        self._pending.set(waiting, {"model": model, "version": version})

    def reloaded(self, succeeded: bool) -> None:
        """Count a version that was loaded in place of another, or one that failed to load."""
        self._reloads.inc(1, {"outcome": "succeeded" if succeeded else "failed"})

    def text(self) -> bytes:
        """Say where the metrics are: those of one replica would be taken for all."""
        return _ELSEWHERE
