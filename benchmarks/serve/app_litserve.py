"""LitServe's own protocol, with the body that the others get: our runtime behind it."""

import os
import sys

import litserve
import numpy as np

import lenet_runtime


class Lenet(litserve.LitAPI):
    def setup(self, device):
        self._session = lenet_runtime.load(os.environ["ARTIFACT"], trust=True)

    def decode_request(self, request):
        (images,) = request["inputs"]
        return np.asarray(images["data"], np.float32).reshape(images["shape"])

    def predict(self, x):
        return self._session.run(x)

    def encode_response(self, output):
        return {"outputs": [{"name": "logits", "data": output.ravel().tolist()}]}


if __name__ == "__main__":
    server = litserve.LitServer(Lenet(), accelerator="cpu", api_path="/v2/models/lenet/infer")
    port = int(sys.argv[1])
    server.run(host="127.0.0.1", port=port, log_level="error", generate_client_file=False)
