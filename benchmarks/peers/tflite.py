"""Writes LeNet as a .tflite file with the schema's own classes, without converter or TensorFlow.

TFLite stores channels last. The input has one channel, so its bytes are the same in both orders;
convolution weights become ``(out, height, width, in)``, and the columns of fc1, which follow the
flattened ``(16, 6, 6)``, are put into the order of ``(6, 6, 16)``.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_deploy.training.model import Net


def lenet(net: Net, batch_size: int) -> bytes:
    """The content of the file, for one batch size."""
    weights = {name: value.detach().numpy() for name, value in net.state_dict().items()}
    file = _File()
    valid, relu = file.schema.Padding.VALID, file.schema.ActivationFunctionType.RELU
    tensor = file.tensor("images", (batch_size, 32, 32, 1))
    file.inputs = [tensor]
    for name, side in (("conv1", 30), ("conv2", 13)):
        kernel = np.ascontiguousarray(weights[f"{name}.weight"].transpose(0, 2, 3, 1))
        channels = len(kernel)
        tensor = file.add(
            "CONV_2D",
            [tensor, file.constant(kernel), file.constant(weights[f"{name}.bias"])],
            file.tensor(name, (batch_size, side, side, channels)),
            file.schema.Conv2DOptionsT(),
            {"padding": valid, "strideW": 1, "strideH": 1, "fusedActivationFunction": relu},
        )
        tensor = file.add(
            "MAX_POOL_2D",
            [tensor],
            file.tensor(f"pool_{name}", (batch_size, side // 2, side // 2, channels)),
            file.schema.Pool2DOptionsT(),
            {"padding": valid}
            | dict.fromkeys(("strideW", "strideH", "filterWidth", "filterHeight"), 2),
        )
    shape = [batch_size, 576]
    inputs = [tensor, file.constant(np.array(shape, np.int32))]
    flat, options = file.tensor("flat", tuple(shape)), file.schema.ReshapeOptionsT()
    tensor = file.add("RESHAPE", inputs, flat, options, {"newShape": shape})
    columns = np.arange(576).reshape(16, 6, 6).transpose(1, 2, 0).ravel()
    weights["fc1.weight"] = weights["fc1.weight"][:, columns]
    for name in ("fc1", "fc2", "fc3"):
        rows = np.ascontiguousarray(weights[f"{name}.weight"])
        tensor = file.add(
            "FULLY_CONNECTED",
            [tensor, file.constant(rows), file.constant(weights[f"{name}.bias"])],
            file.tensor(name, (batch_size, len(rows))),
            file.schema.FullyConnectedOptionsT(),
            {} if name == "fc3" else {"fusedActivationFunction": relu},
        )
    file.outputs = [tensor]
    return file.to_bytes()


class _File:
    """A model of one graph, to which tensors and operators are added in order."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema: Any = schema
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self._buffers = [schema.BufferT()]  # the schema says that number 0 is empty
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[int] = []

    def tensor(self, name: str, shape: tuple[int, ...], type: str = "FLOAT32") -> int:
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), 0
        tensor.type = getattr(self.schema.TensorType, type)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def constant(self, values: NDArray[Any]) -> int:
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._buffers.append(buffer)
        name, kind = f"constant{len(self._tensors)}", values.dtype.name.upper()
        index = self.tensor(name, values.shape, kind)
        self._tensors[index].buffer = len(self._buffers) - 1
        return index

    def add(
        self, name: str, inputs: list[int], output: int, options: Any, fields: dict[str, Any]
    ) -> int:
        code = getattr(self.schema.BuiltinOperator, name)
        if code not in self._codes:
            self._codes.append(code)
        operator = self.schema.OperatorT()
        operator.opcodeIndex = self._codes.index(code)
        operator.inputs, operator.outputs = inputs, [output]
        for field, value in fields.items():
            setattr(options, field, value)
        operator.builtinOptions = options
        kind = type(options).__name__.removesuffix("T")
        operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, kind)
        self._operators.append(operator)
        return output

    def to_bytes(self) -> bytes:
        import flatbuffers

        graph = self.schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = "lenet", self._tensors, self._operators
        graph.inputs, graph.outputs = self.inputs, self.outputs
        model = self.schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [graph], self._buffers
        model.operatorCodes = [self._code(code) for code in self._codes]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _code(self, code: int) -> Any:
        operator_code = self.schema.OperatorCodeT()
        operator_code.builtinCode = operator_code.deprecatedBuiltinCode = code
        operator_code.version = 1
        return operator_code
