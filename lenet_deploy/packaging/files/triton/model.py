"""The model of Triton's python backend: the artifact in this folder, run by lenet-deploy's runtime.

config.pbtxt says whether the artifact may run code (``TRUST``) and on what device it runs.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]


class TritonPythonModel:
    """Answers ``images`` FP32 (N, C, H, W) with logits FP32 (N, K): one `Session` an instance."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the artifact, which answers its golden images before the model is ready."""
        _check_numpy()
        try:
            import lenet_runtime
            from lenet_runtime import errors
        except ImportError as error:
            raise pb_utils.TritonModelException(
                f"expected lenet-deploy in the environment of this model, {sys.prefix}, found none "
                f"({error}); install it there (pip install lenet-deploy), or name an environment "
                "that has it as EXECUTION_ENV_PATH in config.pbtxt"
            ) from error
        config = json.loads(args["model_config"])
        gpu = args["model_instance_kind"] == "GPU"
        try:
            self.session = lenet_runtime.load(
                Path(__file__).parent,
                device=f"cuda:{args['model_instance_device_id']}" if gpu else "cpu",
                trust=config["parameters"]["TRUST"]["string_value"] == "true",
            )
        except errors.DeployError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        self.errors = errors
        self.output = self.session.manifest.output

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests that Triton put together, as one batch."""
        batches = [
            pb_utils.get_input_tensor_by_name(request, "images").as_numpy() for request in requests
        ]
        try:
            logits = self.session.run(np.concatenate(batches) if len(batches) > 1 else batches[0])
        except self.errors.DeployError as error:
            if len(requests) > 1:  # each alone, so that one bad image costs nobody else an answer
                return [self.execute([request])[0] for request in requests]
            refused = isinstance(error, self.errors.InputError)
            code = pb_utils.TritonError.INVALID_ARG if refused else pb_utils.TritonError.INTERNAL
            return [pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), code))]
        ends = np.cumsum([len(batch) for batch in batches])[:-1]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(self.output, rows)])
            for rows in np.split(logits, ends)
        ]

    def finalize(self) -> None:
        """Close the session."""
        self.session.close()


def _check_numpy() -> None:
    """Refuse a NumPy whose arrays this backend misreads without an error: 24.10 does 2."""
    numbers = np.arange(6, dtype=np.float32)
    through = pb_utils.Tensor.from_dlpack("probe", pb_utils.Tensor("probe", numbers)).as_numpy()
    if not np.array_equal(through, numbers):
        raise pb_utils.TritonModelException(
            f"this Triton's python backend misreads arrays of NumPy {np.__version__}; install an "
            f"older one in the environment of this model, {sys.prefix}: pip install 'numpy<2'"
        )
