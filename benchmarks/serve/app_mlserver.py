"""MLServer's custom model: our runtime behind it."""

import os

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

import lenet_runtime


class Lenet(MLModel):
    async def load(self) -> bool:
        self._session = lenet_runtime.load(os.environ["ARTIFACT"], trust=True)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        logits = self._session.run(NumpyCodec.decode_input(payload.inputs[0]))
        outputs = [NumpyCodec.encode_output("logits", logits)]
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=outputs)
