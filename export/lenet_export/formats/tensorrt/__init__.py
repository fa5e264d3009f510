"""``tensorrt``: an engine, built by TensorRT or TensorRT-RTX from our ONNX graph.

`casts` and `int8` put the graph into the types of the precision, `process` has `builder` build it
in a process of its own, and `lenet_runtime.backends.tensorrt.inspection` reads what became of each
layer, which must be what was asked for. ``model.engine`` is the engine's bytes and nothing else, so
other tools can read it.
"""

from typing import Any

import onnx

from lenet_export.formats import onnx as onnx_format
from lenet_export.formats.tensorrt import casts, int8, process
from lenet_export.network.quantize import calibration_batch
from lenet_export.request import Build, Request
from lenet_runtime.artifact import Requirements
from lenet_runtime.artifact.requirements import this_platform
from lenet_runtime.backends.tensorrt import core, inspection
from lenet_runtime.backends.tensorrt.core import DEFAULT_PROFILE, FILE, MODULES, TITLES, Profile
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError, expected_one_of
from lenet_runtime.version import pip_install

# The type that the layers with weights compute in.
_COMPUTES_IN = {"fp32": "fp32", "tf32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8": "int8"}


def build(request: Request) -> Build:
    """Build ``model.engine``.

    Options: ``profile``, batch sizes ``MIN:OPT:MAX``, 1:64:1024 where it is not given;
    ``library``, ``tensorrt`` or ``tensorrt-rtx``, the first that is installed;
    ``compute_capability``, of TensorRT-RTX, which GPUs to build for (``8.6`` or ``8.6,8.9``), the
    GPU of this machine where it is not given; ``calibration``, see `native.build`.

    TensorRT-RTX makes equal engines of equal weights and options, but for some 30 bytes in bf16 and
    int8; TensorRT times kernels and chooses.

    Raises:
        InputError: an option is wrong, or the weights do not fit into the precision.
        BackendUnavailable: there is no library, or no GPU where one is needed.
        DeployError: the build failed, or a layer computes in another type than was asked for.
    """
    options = request.options
    library = _library(options.get("library"))
    target = process.target(options.get("compute_capability"), library, request.device)
    job = process.Job(
        library,
        _profile(options.get("profile"), request.static_batch),
        request.precision == "tf32",
        target,
        request.image_shape,
    )
    graph, nodes, tools = _graph(request)
    engine = process.build(graph.SerializeToString(deterministic=True), job, request.precision)
    if engine.tf32 != job.tf32:
        raise DeployError(f"tensorrt: expected TF32 {job.tf32}, found {engine.tf32} in the builder")
    return Build(
        {FILE: engine.data},
        Requirements(
            "cuda",
            library,
            engine.version,
            platform=this_platform(),
            compute_capability=tuple(map(float, target.capabilities)),
            profile=job.profile,
        ),
        tools | {library: engine.version},
        attest(engine.layers, nodes, request.precision),
    )


def require() -> None:
    """Raise `BackendUnavailable` where neither library is installed."""
    _library(None)


def attest(text: str, nodes: dict[str, str], precision: str) -> dict[str, tuple[str, ...]]:
    """What computes each node of the graph, by the library's own account.

    Args:
        text: of the compiled layers.
        nodes: ONNX operator of each, by its name.
        precision: that every layer with weights must compute in; of int8, conv1 is in fp32.

    Raises:
        DeployError: one computes in another type, or nothing is told of it.
    """
    layers = inspection.parse(text)
    kernels = {name: inspection.kernel_of(layers, name) for name in nodes}
    weighted = [name for name, operator in nodes.items() if operator != "MaxPool"]
    expected = dict.fromkeys(weighted, _COMPUTES_IN[precision])
    if precision == "int8":
        expected |= dict.fromkeys(weighted[: int8.FLOAT_LAYERS], "fp32")
    wrong = [
        f"{name} in {' '.join(kernels[name]) or 'an unknown type'}, expected {kind}"
        for name, kind in expected.items()
        if kernels[name][:1] != (kind,)
    ]
    if wrong:
        raise DeployError(
            f"tensorrt: {precision} was asked for, but the engine computes {'; '.join(wrong)}"
        )
    if precision == "tf32":
        kernels |= {name: (*kernels[name], "TF32 allowed") for name in weighted}
    return {name: kernel for name, kernel in kernels.items() if kernel}


def _graph(request: Request) -> tuple[onnx.ModelProto, dict[str, str], dict[str, str]]:
    """The ONNX graph in its precision, the operator of each node by name, and tools' versions."""
    precision = request.precision
    calibration = calibration_batch(
        precision, request.options.get("calibration"), request.preprocessing, request.image_shape
    )
    model, tools = onnx_format.model(request, casts.OPSETS[precision])
    nodes = {name: node.op_type for name, node in casts.name_nodes(model).items()}
    if precision in ("fp16", "bf16"):
        model = casts.cast(model, precision)
    if calibration is not None:
        model = int8.quantized(model, int8.ranges(request, calibration))
    return model, nodes, tools


def _library(wanted: Any) -> str:
    """The library to build with."""
    if wanted is not None and wanted not in MODULES:
        raise InputError(f"library: {expected_one_of(MODULES, wanted)}")
    found = [name for name in core.installed() if wanted in (None, name)]
    if not found:
        names = TITLES[wanted] if wanted else " or ".join(TITLES.values())
        raise BackendUnavailable(
            f"tensorrt: expected {names}, found neither module; "
            f"{pip_install(wanted or 'tensorrt-rtx')} "
            "(tensorrt-rtx builds without a GPU)"
        )
    return found[0]


def _profile(wanted: Any, static_batch: int | None) -> Profile:
    if static_batch is None:
        return Profile.parse(DEFAULT_PROFILE if wanted is None else wanted)
    if wanted is not None:
        raise InputError(
            f"profile: a static batch of {static_batch} is the whole profile, found {wanted!r} "
            "beside it; drop one of the two"
        )
    return Profile(static_batch, static_batch, static_batch)
