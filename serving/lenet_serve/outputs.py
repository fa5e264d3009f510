"""What a model answers: its own output, and where asked for `probabilities`, `labels`, classes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.artifact import Manifest
from lenet_runtime.images.prediction import from_logits
from lenet_serve.errors import ServeError
from lenet_serve.protocol.infer import InferRequest, RequestedOutput, Tensor

PROBABILITIES, LABELS = "probabilities", "labels"


def datatypes(manifest: Manifest) -> dict[str, str]:
    """Each output's datatype, the one that is answered by default first."""
    return {manifest.output: "FP32", PROBABILITIES: "FP32", LABELS: "BYTES"}


class Outputs:
    """Makes the outputs of what a network answered.

    Args:
        manifest: What the artifact is.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._own, self._labels = manifest.output, manifest.labels
        self._encoded = [label.encode() for label in manifest.labels]
        self._datatypes = datatypes(manifest)
        self._default = [RequestedOutput(self._own)]

    def check(self, request: InferRequest) -> None:
        """Refuse what this model does not answer.

        Raises:
            ServeError: An unknown output, or classes of one that has none.
        """
        for output in request.outputs:
            datatype = self._datatypes.get(output.name)
            if datatype is None:
                raise ServeError(
                    f"outputs: expected some of {', '.join(self._datatypes)}, found {output.name!r}"
                )
            if output.classes and datatype == "BYTES":
                raise ServeError(f"outputs: {output.name} is no tensor to classify by")

    def of(self, request: InferRequest, logits: NDArray[np.float32]) -> list[Tensor]:
        """The outputs that are asked for, each once, of the network's answer ``(N, K)``."""
        if not request.outputs:
            return [Tensor(self._own, "FP32", logits.shape, logits)]
        outputs: dict[str, RequestedOutput] = {}
        for output in request.outputs:
            outputs.setdefault(output.name, output)
        return [self._one(output, logits) for output in outputs.values()]

    def _one(self, output: RequestedOutput, logits: NDArray[np.float32]) -> Tensor:
        if output.name == LABELS:
            named = [self._encoded[index] for index in logits.argmax(axis=1).tolist()]
            return Tensor(LABELS, "BYTES", (len(named),), named)
        values = logits
        if output.name == PROBABILITIES and self._own != PROBABILITIES:
            values = from_logits(logits, self._labels, 1, output=self._own).probabilities
        if output.classes:
            return self._classes(output, values)
        return Tensor(output.name, "FP32", values.shape, values)

    def _classes(self, output: RequestedOutput, values: NDArray[np.float32]) -> Tensor:
        """The most probable classes as Triton writes them: ``value:index:label``."""
        count = min(output.classes, len(self._labels))
        order: Any = np.argsort(-values, axis=1, kind="stable")[:, :count]
        written = [
            f"{values[row, index]:f}:{index}:{self._labels[index]}".encode()
            for row, indices in enumerate(order.tolist())
            for index in indices
        ]
        return Tensor(output.name, "BYTES", (len(values), count), written)
