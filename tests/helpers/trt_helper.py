"""What the tests of the format ``tensorrt`` share; none of it needs a GPU."""

import importlib.util

import pytest

from lenet_export.network import weights
from lenet_export.request import Request
from lenet_runtime.devices import Device
from lenet_runtime.images.preprocess import Preprocessing

PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8")

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="TensorRT-RTX is not installed; pip install 'lenet-deploy[tensorrt-rtx]'",
)


def request_of(net, precision="fp32", static_batch=None, **options):
    """A request to export `net`, as the pipeline makes it."""
    return Request(
        module=net,
        precision=precision,
        static_batch=static_batch,
        preprocessing=Preprocessing(),
        labels=tuple("0123456789"),
        weights_sha256=weights.fingerprint(net),
        device=Device("cuda"),
        options=options,
    )


def rtx_request(net, precision="fp32", static_batch=None, **options):
    """A request that TensorRT-RTX can build here, for a GPU that is elsewhere."""
    defaults = {"library": "tensorrt-rtx", "compute_capability": "8.6"}
    return request_of(net, precision, static_batch, **defaults | options)
