"""`Model`: one version of one model, what it takes and what it answers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import Session
from lenet_runtime.errors import InputError
from lenet_serve import documents
from lenet_serve.admission import Admission
from lenet_serve.batching import Batcher
from lenet_serve.errors import translated
from lenet_serve.inputs import Inputs
from lenet_serve.limits import Limits
from lenet_serve.outputs import Outputs
from lenet_serve.protocol.infer import InferRequest, InferResponse

MAX_BATCH = 64  # images that are put together, of a backend that gains by it


class Model:
    """One version of one model: a session, and the tensors of the protocol around it.

    Args:
        name: The model's name.
        version: Its version, a number.
        session: The session that computes; the model's own from now on, which `close` closes.
        limits: Bounds of what is accepted.
        max_batch: Images of several requests that are computed together; 1 for none. None is 1 for
            ``native``, which gains nothing by it, and `MAX_BATCH` for all others. It is 1 in any
            case for artifacts of a static batch size.

    Attributes:
        name, version, session, limits: As given.
        max_batch: The number that holds.
        admission: What is under way.
        batcher: What runs the session.
    """

    def __init__(
        self,
        name: str,
        version: str,
        session: Session,
        *,
        limits: Limits | None = None,
        max_batch: int | None = None,
    ) -> None:
        self.name, self.version, self.session = name, version, session
        self.limits = limits or Limits()
        self.max_batch = max_batch or (1 if session.backend == "native" else MAX_BATCH)
        if session.manifest.batch_size is not None:
            self.max_batch = 1
        self.admission = Admission(self.limits)
        self.batcher = Batcher(session.run, self.max_batch, name=f"{name}-{version}")
        self._inputs = Inputs(session.manifest, self.limits)
        self._outputs = Outputs(session.manifest)

    def size(self, request: InferRequest) -> tuple[int, int]:
        """Images and bytes of a request, by what it says, before anything else is checked.

        Raises:
            ServeError: There are too many images.
        """
        return self._inputs.size(request)

    def images(self, request: InferRequest, deadline: float | None = None) -> NDArray[np.float32]:
        """Check a request and prepare its images, before it waits for anything.

        Args:
            request: The request; doubts about its pictures are written to it.
            deadline: The moment of `time.monotonic` after which no picture is decoded any more.

        Returns:
            The images ``(N, C, H, W)``, as `Session.run` takes them.

        Raises:
            ServeError: The inputs or the outputs that are asked for are not this model's.
        """
        self._outputs.check(request)
        try:
            return self._inputs.images(request, deadline)
        except InputError as error:
            raise translated(error) from error

    def answer(self, request: InferRequest, logits: NDArray[np.float32]) -> InferResponse:
        """Make the outputs that a request asks for of its logits ``(N, K)``."""
        outputs = self._outputs.of(request, logits)
        answer = InferResponse(self.name, self.version, request.id, outputs, rows=len(logits))
        if request.warnings and (doubts := _written(request.warnings)):
            answer.parameters["warnings"] = doubts
        return answer

    def metadata(self) -> dict[str, Any]:
        """V2's metadata of this version, whose ``versions`` lists it alone."""
        return documents.metadata(self.name, [self.version], self.session.manifest)

    def config(self) -> dict[str, Any]:
        """Triton's ModelConfig as JSON."""
        return documents.config(self.name, self.max_batch, self.session.manifest, self.limits)

    def close(self) -> None:
        """Admit no more requests, wait for those that are under way, and close the session."""
        self.admission.close()
        self.batcher.close()
        self.session.close()


def _written(warnings: tuple[tuple[str, ...], ...]) -> str:
    """Doubts about pictures as one string, since a parameter has no list."""
    return "; ".join(f"file[{i}]: {doubt}" for i, doubts in enumerate(warnings) for doubt in doubts)
