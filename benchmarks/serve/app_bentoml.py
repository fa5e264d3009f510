"""BentoML's own protocol, with the body that the others get: our runtime behind it."""

import os
from typing import Any

import bentoml
import numpy as np

import lenet_runtime


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Lenet:
    def __init__(self) -> None:
        self._session = lenet_runtime.load(os.environ["ARTIFACT"], trust=True)

    @bentoml.api(route="/v2/models/lenet/infer")
    def infer(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        (images,) = inputs
        x = np.asarray(images["data"], np.float32).reshape(images["shape"])
        logits = self._session.run(x)
        return {"outputs": [{"name": "logits", "data": logits.ravel().tolist()}]}
