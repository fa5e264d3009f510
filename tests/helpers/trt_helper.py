"""What the tests of the format ``tensorrt`` share; none of it needs a GPU."""

import importlib.util

import pytest

from lenet_export.formats.tensorrt import process
from lenet_export.request import Request
from lenet_runtime import FORMATS
from lenet_runtime.backends.tensorrt.core import Profile
from lenet_runtime.devices import Device
from lenet_runtime.version import pip_install

PRECISIONS = tuple(FORMATS["tensorrt"].precisions)

LAYERS = ["conv1", "conv2", "fc1", "fc2", "fc3"]
RTX = process.Job(
    "tensorrt-rtx", Profile(1, 2, 4), False, process.Target(("8.6",), told=True), (1, 32, 32)
)

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason=f"TensorRT-RTX is not installed; {pip_install('tensorrt-rtx')}",
)


def request_of(net, precision="fp32", static_batch=None, **options):
    """A request to export `net`, as the pipeline makes it."""
    return Request(net, "tensorrt", precision, Device("cuda"), static_batch, options=options)


def rtx_request(net, precision="fp32", static_batch=None, **options):
    """A request that TensorRT-RTX can build here, for a GPU that is elsewhere."""
    defaults = {"library": "tensorrt-rtx", "compute_capability": "8.6"}
    return request_of(net, precision, static_batch, **defaults | options)
