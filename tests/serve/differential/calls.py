"""gRPC: messages of tritonclient's protocol, and bytes that are none."""

import struct
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import service_pb2 as pb

from tests.serve.differential.wire import PIXELS, Answer, reduce

SERVICE = "/inference.GRPCInferenceService/"
RAW = struct.pack("<1024f", *PIXELS)


@dataclass(frozen=True)
class Call:
    """A method, the bytes of its message, and the seconds until the client gives up."""

    method: str
    message: bytes = b""
    timeout_s: float = 5.0
    metadata: tuple[tuple[str, str], ...] = ()
    stream: bool = False


def call(method: str, kind: str = "", /, **fields: Any) -> Call:
    """A call of the service; its message is METHODRequest unless `kind` names another."""
    message = getattr(pb, kind or f"{method}Request")(**fields)
    return Call(SERVICE + method, message.SerializeToString())


def infer(raw: Any = (RAW,), model: str = "lenet", /, **fields: Any) -> Call:
    """An infer of the good input unless `inputs` says otherwise."""
    message = pb.ModelInferRequest(
        **{"model_name": model, "inputs": [tensor()], "raw_input_contents": list(raw)} | fields
    )
    return Call(SERVICE + "ModelInfer", message.SerializeToString())


def tensor(
    name: str = "images", shape: Any = (1, 1, 32, 32), datatype: str = "FP32", **fields: Any
) -> Any:
    """An input."""
    return pb.ModelInferRequest.InferInputTensor(
        name=name, shape=shape, datatype=datatype, **fields
    )


def contents(*values: float, field: str = "fp32_contents", **keys: Any) -> Call:
    """An infer whose values stand in the message."""
    data = pb.InferTensorContents(**{field: values})
    return infer((), inputs=[tensor(contents=data, **keys)])


def output(name: str, **parameters: Any) -> Any:
    """A requested output."""
    wanted = pb.ModelInferRequest.InferRequestedOutputTensor(name=name)
    for key, value in parameters.items():
        wanted.parameters[key].CopyFrom(value)
    return wanted


def parameter(**field: Any) -> Any:
    """A parameter: one of bool_param, int64_param, string_param, double_param."""
    return pb.InferParameter(**field)


def given(key: str, **field: Any) -> Call:
    """An infer with one parameter."""
    return infer(parameters={key: parameter(**field)})


def of(**changes: Any) -> Call:
    """An infer of the good bytes, but for the tensor around them."""
    return infer(inputs=[tensor(**changes)])


GOOD = infer()
NAN = struct.pack("<f", float("nan"))

CALLS: dict[str, Call] = {
    "ServerLive": call("ServerLive"),
    "ServerReady": call("ServerReady"),
    "ServerMetadata": call("ServerMetadata"),
    "ModelReady": call("ModelReady", name="lenet"),
    "ModelReady nope": call("ModelReady", name="nope"),
    "ModelMetadata": call("ModelMetadata", name="lenet"),
    "ModelMetadata nope": call("ModelMetadata", name="nope"),
    "ModelMetadata version x": call("ModelMetadata", name="lenet", version="x"),
    "ModelConfig": call("ModelConfig", name="lenet"),
    "ModelStatistics": call("ModelStatistics", name="lenet"),
    "ModelStatistics nope": call("ModelStatistics", name="nope"),
    "RepositoryIndex": call("RepositoryIndex"),
    "RepositoryModelLoad": call("RepositoryModelLoad", model_name="lenet"),
    "TraceSetting": call("TraceSetting"),
    "LogSettings": call("LogSettings"),
    "SystemSharedMemoryStatus": call("SystemSharedMemoryStatus"),
    "ok raw": GOOD,
    "ok contents": contents(*PIXELS),
    "both raw and contents": infer(inputs=[tensor(
        contents=pb.InferTensorContents(fp32_contents=PIXELS))]),
    "neither": infer(()),
    "raw short": infer((RAW[:-4],)),
    "raw long": infer((RAW + b"\0\0\0\0",)),
    "contents short": contents(*PIXELS[1:]),
    "dtype INT32": of(datatype="INT32"),
    "dtype junk": of(datatype="FP31"),
    "wrong name": of(name="image"),
    "wrong shape": of(shape=(1, 1, 16, 64)),
    "negative shape": of(shape=(-1, 1, 32, 32)),
    "batch 0": infer((b"",), inputs=[tensor(shape=(0, 1, 32, 32))]),
    "batch 1025": infer((RAW * 1025,), inputs=[tensor(shape=(1025, 1, 32, 32))]),
    "no inputs": infer((), inputs=[]),
    "unknown model": infer((RAW,), "nope"),
    "empty model": infer((RAW,), ""),
    "version 9": infer(model_version="9"),
    "version x": infer(model_version="x"),
    "outputs ok": infer(outputs=[output("logits")]),
    "outputs unknown": infer(outputs=[output("nope")]),
    "outputs twice": infer(outputs=[output("logits"), output("logits")]),
    "unknown parameter": given("nope", int64_param=1),
    "sequence_id on stateless": given("sequence_id", int64_param=7),
    "two raw for one input": infer((RAW, RAW)),
    "NaN": infer((NAN + RAW[4:],)),
    "unimplemented rpc": Call(SERVICE + "Nope"),
    "unknown service": Call("/nope.Nope/Nope"),
    "garbage protobuf": Call(SERVICE + "ModelInfer", b"\xff" * 40),
    "grpc.health.v1 Check": Call("/grpc.health.v1.Health/Check"),
    "reflection": Call(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", b"\x3a\0", stream=True),
    "80 MiB message": infer((b"\0" * (80 << 20),)),
    "ModelStreamInfer": Call(SERVICE + "ModelStreamInfer", GOOD.message, stream=True),
    # Ours.
    "version 1": infer(model_version="1"),
    "version 01": infer(model_version="01"),
    "version -1": infer(model_version="-1"),
    "version of 30 digits": infer(model_version="9" * 30),
    "ModelReady version 9": call("ModelReady", name="lenet", version="9"),
    "ModelReady version x": call("ModelReady", name="lenet", version="x"),
    "ModelReady empty": call("ModelReady"),
    "ModelMetadata version 1": call("ModelMetadata", name="lenet", version="1"),
    "ModelMetadata version 9": call("ModelMetadata", name="lenet", version="9"),
    "ModelMetadata empty": call("ModelMetadata"),
    "ModelConfig nope": call("ModelConfig", name="nope"),
    "ModelConfig version 9": call("ModelConfig", name="lenet", version="9"),
    "ModelStatistics of all": call("ModelStatistics"),
    "ModelStatistics version 9": call("ModelStatistics", name="lenet", version="9"),
    "RepositoryIndex ready": call("RepositoryIndex", ready=True),
    "RepositoryIndex named": call("RepositoryIndex", repository_name="x"),
    "RepositoryModelLoad nope": call("RepositoryModelLoad", model_name="nope"),
    "RepositoryModelUnload": call("RepositoryModelUnload", model_name="lenet"),
    "TraceSetting of a model": call("TraceSetting", model_name="lenet"),
    "TraceSetting of nope": call("TraceSetting", model_name="nope"),
    "LogSettings set": call("LogSettings", settings={
        "log_verbose_level": pb.LogSettingsRequest.SettingValue(uint32_param=0)}),
    "SystemSharedMemoryRegister": call(
        "SystemSharedMemoryRegister", name="x", key="/x", byte_size=64),
    "SystemSharedMemoryUnregister": call("SystemSharedMemoryUnregister"),
    "CudaSharedMemoryStatus": call("CudaSharedMemoryStatus"),
    "id": infer(id="a-1"),
    "id unicode": infer(id="\u00e9\u4e2d"),
    "id of 5000 letters": infer(id="x" * 5000),
    "batch of 2": infer((RAW * 2,), inputs=[tensor(shape=(2, 1, 32, 32))]),
    "batch of 64": infer((RAW * 64,), inputs=[tensor(shape=(64, 1, 32, 32))]),
    "input twice": infer((RAW, RAW), inputs=[tensor(), tensor()]),
    "extra input": infer((RAW, RAW), inputs=[tensor(), tensor("more")]),
    "shape empty": of(shape=()),
    "shape 2**62": of(shape=(2**62, 1, 32, 32)),
    "shape overflows to 1024": of(shape=(2**32, 2**32, 1024)),
    "rank 5": of(shape=(1, 1, 1, 32, 32)),
    "shape transposed": of(shape=(1, 32, 32, 1)),
    "dtype empty": of(datatype=""),
    "dtype lower-case": of(datatype="fp32"),
    "BYTES": of(datatype="BYTES"),
    "name empty": of(name=""),
    "raw empty": infer((b"",)),
    "raw, odd size": infer((RAW[:-1],)),
    "infinity": infer((struct.pack("<f", float("inf")) + RAW[4:],)),
    "subnormal": infer((struct.pack("<I", 1) + RAW[4:],)),
    "contents long": contents(*PIXELS, 0.5),
    "contents of another type": contents(*[1] * 1024, field="int_contents"),
    "contents for two types": infer((), inputs=[tensor(contents=pb.InferTensorContents(
        fp32_contents=PIXELS, int_contents=[1]))]),
    "contents NaN": contents(float("nan"), *PIXELS[1:]),
    "contents empty": contents(),
    "outputs an input": infer(outputs=[output("images")]),
    "output name empty": infer(outputs=[output("")]),
    "classification 3": infer(outputs=[output(
        "logits", classification=parameter(int64_param=3))]),
    "classification 0": infer(outputs=[output(
        "logits", classification=parameter(int64_param=0))]),
    "classification 99": infer(outputs=[output(
        "logits", classification=parameter(int64_param=99))]),
    "classification -1": infer(outputs=[output(
        "logits", classification=parameter(int64_param=-1))]),
    "classification string": infer(outputs=[output(
        "logits", classification=parameter(string_param="3"))]),
    "output shared memory": infer(outputs=[output(
        "logits", shared_memory_region=parameter(string_param="x"),
        shared_memory_byte_size=parameter(int64_param=40))]),
    "input shared memory": infer((), inputs=[tensor(parameters={
        "shared_memory_region": parameter(string_param="x"),
        "shared_memory_byte_size": parameter(int64_param=4096)})]),
    "priority": given("priority", int64_param=1),
    "priority negative": given("priority", int64_param=-1),
    "priority string": given("priority", string_param="high"),
    "timeout 1us": given("timeout", int64_param=1),
    "timeout 10 s": given("timeout", int64_param=10_000_000),
    "timeout negative": given("timeout", int64_param=-1),
    "timeout string": given("timeout", string_param="soon"),
    "sequence_start string": given("sequence_start", string_param="yes"),
    "parameter unset": given("nope"),
    "triton_ parameter": given("triton_x", int64_param=1),
    "parameter double": given("nope", double_param=0.5),
    "metadata": Call(GOOD.method, GOOD.message, metadata=(("x-request-id", "abc"),)),
    "message truncated": Call(GOOD.method, GOOD.message[:-1]),
    "message empty": Call(GOOD.method),
    "unknown field": Call(GOOD.method, GOOD.message + b"\xfa\x7f\x01x"),
    "wrong wire type": Call(GOOD.method, b"\x08\x01" + GOOD.message),
    "name not UTF-8": Call(SERVICE + "ModelReady", b"\x0a\x02\xff\xfe"),
    "method of lower case": Call(SERVICE + "modelinfer", GOOD.message),
    "health of the service": Call(
        "/grpc.health.v1.Health/Check", b"\x0a\x1einference.GRPCInferenceService"),
    "health of nope": Call("/grpc.health.v1.Health/Check", b"\x0a\x04nope"),
    "alive at the end": GOOD,
}  # fmt: skip


def send(channel: Any, case: Call) -> list[Answer]:
    """Make the call; the status is gRPC's, the body what the message holds."""
    import grpc

    options = {"timeout": case.timeout_s, "metadata": case.metadata}
    try:
        if case.stream:
            (*_, data) = [next(channel.stream_stream(case.method)(iter([case.message]), **options))]
        else:
            data = channel.unary_unary(case.method)(case.message, **options)
    except grpc.RpcError as error:
        return [Answer(error.code().name)]
    name = case.method.removeprefix(SERVICE)
    kind = getattr(pb, f"{name}Response", None) if case.method.startswith(SERVICE) else None
    if kind is None:
        return [Answer("OK", None)]
    message = kind.FromString(data)
    if name == "ModelInfer":
        message.raw_output_contents[:] = [b"%d" % len(r) for r in message.raw_output_contents]
    document = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return [Answer("OK", reduce(document))]
