"""`Model`: one version of one model, what it takes and what it answers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import Session
from lenet_serve.errors import ServeError
from lenet_serve.protocol.infer import InferRequest, InferResponse, Tensor


class Model:
    """One version of one model: a session, and the tensors of the protocol around it.

    Args:
        name: The model's name.
        version: Its version, a number.
        session: The session that computes; closed by whoever made it.

    Attributes:
        name, version, session: As given.
    """

    def __init__(self, name: str, version: str, session: Session) -> None:
        self.name, self.version, self.session = name, version, session
        self._shape = session.manifest.image_shape

    def images(self, request: InferRequest) -> NDArray[np.float32]:
        """Check a request and prepare its images, before it waits for anything.

        Returns:
            The images ``(N, C, H, W)``, as `Session.run` takes them.

        Raises:
            ServeError: The inputs or the outputs that are asked for are not this model's.
        """
        (tensor,) = request.inputs
        images: NDArray[Any] = np.asarray(tensor.data)
        if tensor.name != "images" or images.shape[1:] != self._shape:
            raise ServeError(
                f"inputs: expected images {self._shape}, found {tensor.name} {images.shape[1:]}"
            )
        return images

    def answer(self, request: InferRequest, logits: NDArray[np.float32]) -> InferResponse:
        """Make the outputs that a request asks for of its logits ``(N, K)``."""
        outputs = [Tensor("logits", "FP32", logits.shape, logits)]
        return InferResponse(self.name, self.version, request.id, outputs)
