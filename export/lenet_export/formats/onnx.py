"""``onnx``: the graph by torch's dynamo exporter, weights embedded, stripped of everything else."""

import json
from typing import Any

import onnx
import onnxscript
import torch

from lenet_export.quiet import quiet
from lenet_export.request import Build, Request
from lenet_runtime import __version__
from lenet_runtime.artifact import IMAGES, Requirements
from lenet_runtime.errors import DeployError, InputError, first_line
from lenet_runtime.formats import FORMATS

# The highest that ONNX Runtime 1.22, the oldest we support, runs (it warns from 23 on); nothing
# that LeNet uses changed in meaning since.
DEFAULT_OPSET = 20
OPSETS = range(18, 23)
OPERATORS = frozenset({"Conv", "Relu", "MaxPool", "Flatten", "Reshape", "Gemm"})
(MODEL,) = FORMATS["onnx"].files


def build(request: Request) -> Build:
    """Export to one self-contained ``model.onnx``.

    Equal weights give equal bytes: everything that names this machine, a path or a line of
    source is removed from the graph.

    Raises:
        InputError: the opset is not one of `OPSETS`.
        DeployError: the exporter failed or made a graph of another shape.
    """
    opset = request.options.get("opset")
    opset = DEFAULT_OPSET if opset is None else opset
    if type(opset) is not int or opset not in OPSETS:
        raise InputError(f"opset: expected {OPSETS[0]} to {OPSETS[-1]}, found {opset!r}")
    graph, tools = model(request, opset)
    return Build(
        {MODEL: graph.SerializeToString(deterministic=True)},
        Requirements(request.runs_on, "onnx", f"opset {opset}, IR {graph.ir_version}"),
        tools,
    )


def model(request: Request, opset: int) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The float32 graph, checked and stripped, and the versions of the tools that made it.

    Raises:
        DeployError: see `build`.
    """
    graph = _export(request, opset)
    _strip(graph)
    # The least that the operators allow: 8 for 18, 9 for 19 and 20, 10 above. Runtimes refuse IR
    # versions that are newer than they are, whatever is in the graph.
    graph.ir_version = onnx.helper.find_min_ir_version_for(graph.opset_import)
    _describe(graph, request)
    onnx.checker.check_model(graph, full_check=True)
    _require_batch(graph, request.static_batch)
    return graph, {
        "torch": str(torch.__version__),
        "onnx": onnx.__version__,
        "onnxscript": onnxscript.__version__,
    }


def _export(request: Request, opset: int) -> onnx.ModelProto:
    batch = None if request.static_batch else ({0: torch.export.Dim("batch")},)
    try:
        with quiet():
            program = torch.onnx.export(
                request.module,
                (request.example,),
                dynamo=True,
                dynamic_shapes=batch,
                input_names=[IMAGES],
                output_names=[request.output],
                opset_version=opset,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        # Its own words are an essay on how to report it; the cause says what is wrong.
        raise DeployError(
            "onnx: torch.export cannot record the module "
            f"({first_line(error.__cause__ or error)}); "
            "take out of its forward what depends on the values of images or on their number"
        ) from error
    if program is None:
        raise DeployError("onnx: torch's exporter returned no program")
    model: onnx.ModelProto = program.model_proto
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Remove stack traces, paths and shape notes, which are not part of the computation."""
    graph = model.graph
    messages: list[Any] = [model, graph, *graph.node, *graph.input, *graph.output]
    for message in (*messages, *graph.initializer):
        message.ClearField("doc_string")
        message.ClearField("metadata_props")
    graph.ClearField("value_info")
    graph.name = "lenet"


def _describe(model: onnx.ModelProto, request: Request) -> None:
    model.producer_name, model.producer_version = "lenet-deploy", __version__
    onnx.helper.set_model_props(
        model,
        {
            "labels": json.dumps(request.labels),
            "normalization_mean": str(request.preprocessing.mean),
            "normalization_std": str(request.preprocessing.std),
            "padding": str(request.preprocessing.padding),
            "weights_sha256": request.weights_sha256,
        },
    )


def _require_batch(model: onnx.ModelProto, static_batch: int | None) -> None:
    """Assert the batch of input and output: the symbol of a dynamic one, the size of a static."""
    for value in (*model.graph.input, *model.graph.output):
        dim = value.type.tensor_type.shape.dim[0]
        found = dim.dim_value if static_batch else dim.dim_param
        if found != (static_batch or "batch"):
            raise DeployError(
                f"onnx: {value.name}: expected a graph for {static_batch or 'any number of'} "
                f"images, found one for {dim.dim_value or 'any number'}; the module's forward "
                "depends on how many there are: change that, or pass static_batch"
            )
