"""`Recorder`: what a service tells of each request; this one forgets it."""

from typing import Any

from lenet_serve.errors import Code
from lenet_serve.protocol.infer import InferRequest, Times


class Recorder:
    """Counts nothing. What counts (`lenet_serve.metrics`) derives from this."""

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
        """Count one request, answered or refused.

        `Service` calls it once for each request that is submitted to it, and `Service.refused`
        for those that an adapter refuses before, such as a malformed body.

        Args:
            model, version: The model's own; both empty where there is no such model, so that
                nothing that a client writes becomes a label.
            protocol: ``http`` or ``grpc``.
            code: Why it was refused; None where it was answered.
            rows: Images in the request; 0 where nobody has looked.
            times: Where its time went.
            request: The request, for logs and traces; None where it could not be read.
        """

    def loaded(self, model: str, version: str) -> None:
        """Learn of a model that is served from now on."""

    def pending(self, model: str, version: str, change: int) -> None:
        """Count a request that begins (1) or ends (-1) to wait for the engine."""

    def unloaded(self, model: str, version: str) -> None:
        """Learn of a model that is not served any more."""

    def reloaded(self, succeeded: bool) -> None:
        """Count a version that was loaded in place of another, or one that failed to load."""

    def statistics(self, model: str, version: str) -> dict[str, Any]:
        """V2's statistics of one version of a model, an element of ``model_stats``."""
        return {"name": model, "version": version}

    def text(self) -> bytes:
        """The metrics as Prometheus reads them."""
        return b""
