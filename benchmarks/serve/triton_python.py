"""The model.py of Triton's python backend: our runtime behind it, one `Session` an instance."""

import json
import sys

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Answers ``images`` FP32 (N, 1, 32, 32) with ``logits`` FP32 (N, 10)."""

    def initialize(self, args):
        """Open the artifact that config.pbtxt names."""
        parameters = json.loads(args["model_config"])["parameters"]
        sys.path.insert(0, parameters["RUNTIME"]["string_value"])
        import lenet_runtime

        if np.lib.NumpyVersion(np.__version__) >= "2.0.0":  # whose arrays this backend misreads
            raise pb_utils.TritonModelException(f"expected NumPy 1, found {np.__version__}")
        self.session = lenet_runtime.load(parameters["ARTIFACT"]["string_value"], trust=True)

    def execute(self, requests):
        """Answer each request for itself."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        images = pb_utils.get_input_tensor_by_name(request, "images").as_numpy()
        try:
            logits = self.session.run(images)
        except Exception as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse([pb_utils.Tensor("logits", logits)])

    def finalize(self):
        """Close the session."""
        self.session.close()
