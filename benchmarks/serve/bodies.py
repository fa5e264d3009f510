"""The requests: one digit as JSON, as pixels in JSON, as a binary tensor, and as gRPC's message."""

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch

INFER = "/v2/models/lenet/infer"
RPC = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Body:
    """A request's bytes, its headers, its path, and whether it is gRPC's."""

    data: bytes
    headers: dict[str, str]
    path: str = INFER
    grpc: bool = False


def bodies() -> dict[str, Body]:
    """The bundled test digits' first, in each form."""
    picture = load_digits().images[:1]
    images = to_batch(picture, Preprocessing())
    as_json = {"Content-Type": "application/json"}
    return {
        "JSON": Body(document("images", "FP32", images), as_json),
        "pixels JSON": Body(document("pixels", "UINT8", picture), as_json),
        "binary": binary(images),
        "gRPC": message(images),
    }


def tensor(name: str, datatype: str, array: Any) -> dict[str, Any]:
    """An input without its data."""
    return {"name": name, "datatype": datatype, "shape": list(array.shape)}


def document(name: str, datatype: str, array: Any) -> bytes:
    """V2's JSON; floats as Python writes float32's shortest digits, without spaces."""
    numbers = [float(str(x)) if datatype == "FP32" else int(x) for x in array.ravel()]
    inputs = [tensor(name, datatype, array) | {"data": numbers}]
    return json.dumps({"inputs": inputs}, separators=(",", ":")).encode()


def binary(images: Any) -> Body:
    """V2's binary tensors, in and out, as tritonclient sends them."""
    inputs = [tensor("images", "FP32", images) | {"parameters": {"binary_data_size": 4096}}]
    header = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(header)),
    }
    return Body(header + images.tobytes(), headers)


def message(images: Any) -> Body:
    """ModelInferRequest behind gRPC's prefix of five bytes."""
    from tritonclient.grpc import service_pb2 as pb

    image = pb.ModelInferRequest.InferInputTensor(**tensor("images", "FP32", images))
    request = pb.ModelInferRequest(
        model_name="lenet", inputs=[image], raw_input_contents=[images.tobytes()]
    )
    data = request.SerializeToString()
    headers = {"content-type": "application/grpc", "te": "trailers"}
    return Body(b"\0" + struct.pack(">I", len(data)) + data, headers, RPC, grpc=True)


def answered(body: Body, http: int, grpc: int) -> Any:
    """Send a request once; returns the logits ``(10,)``.

    Raises:
        OSError: The server refused, or did not answer.
    """
    if body.grpc:
        return answered_grpc(body, grpc)
    import urllib.request

    request = urllib.request.Request(f"http://127.0.0.1:{http}{body.path}", body.data, body.headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        size = int(response.headers.get("Inference-Header-Content-Length") or 0)
        data = response.read()
    if size:
        return np.frombuffer(data[size:], "<f4")
    return np.ravel(json.loads(data)["outputs"][0]["data"])


def answered_grpc(body: Body, port: int) -> Any:
    """See `answered`."""
    import grpc
    from tritonclient.grpc import service_pb2 as pb

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            data = channel.unary_unary(RPC)(body.data[5:], timeout=20)
        except grpc.RpcError as error:
            raise OSError(f"{error.code().name}: {error.details()}") from error
    response = pb.ModelInferResponse.FromString(data)
    if response.raw_output_contents:
        return np.frombuffer(response.raw_output_contents[0], "<f4")
    return np.array(response.outputs[0].contents.fp32_contents)
