"""`Service`: models behind the protocol, without any network."""

from collections.abc import Iterable
from concurrent.futures import Future

from lenet_serve.errors import Code, ServeError
from lenet_serve.limits import Limits
from lenet_serve.model import Model
from lenet_serve.protocol.infer import InferRequest, InferResponse


class Service:
    """Answers requests for inference; thread-safe.

    Args:
        models: What is served.
        limits: Bounds of what is accepted.
    """

    def __init__(self, models: Iterable[Model], *, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._models = {model.name: model for model in models}

    def model(self, name: str, version: str = "") -> Model:
        """Find a model that is served; without a version, the one it serves by default.

        Raises:
            ServeError: There is no such model or version.
        """
        model = self._models.get(name)
        if model is None or version not in ("", model.version):
            raise ServeError(
                f"expected one of the models {', '.join(self._models)}, found {name!r}",
                Code.NOT_FOUND,
            )
        return model

    def submit(
        self, request: InferRequest, deadline: float | None = None
    ) -> InferResponse | Future[InferResponse]:
        """Begin an inference; it never waits.

        What takes microseconds is computed here and now, in the caller's thread, and answered;
        all else is answered by a future. Either may raise.

        Args:
            request: The request.
            deadline: The moment of `time.monotonic` after which nobody waits for the answer; None
                for none.

        Raises:
            ServeError: The request is refused, the service is busy, or the deadline has passed.
        """
        model = self.model(request.model, request.version)
        return model.answer(request, model.session.run(model.images(request)))

    def infer(self, request: InferRequest, deadline: float | None = None) -> InferResponse:
        """Answer a request; see `submit`."""
        answer = self.submit(request, deadline)
        return answer.result() if isinstance(answer, Future) else answer
