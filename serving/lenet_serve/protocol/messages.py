"""The messages of gRPC's services, in a descriptor pool of their own.

Modules that protoc generates share one pool a process, where a second package with the name
``inference`` (tritonclient's, MLServer's) is an error. These classes are made here instead, from
``protos/descriptors.binpb``, which is made from the .proto files beside it by ``protoc
--include_imports --descriptor_set_out``.
"""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from lenet_serve.errors import ServeError

Message = Any  # its classes exist at run time alone


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service.

    Attributes:
        request, response: The classes of its messages.
        client_streams, server_streams: Whether there may be any number of these.
    """

    request: Message
    response: Message
    client_streams: bool
    server_streams: bool


# The serialized files by name, each behind those that it imports.
FILES: dict[str, bytes] = {
    file.name: file.SerializeToString()
    for file in FileDescriptorSet.FromString(
        files("lenet_serve.protocol").joinpath("protos/descriptors.binpb").read_bytes()
    ).file
}
POOL = DescriptorPool()
for _file in FILES.values():
    POOL.AddSerializedFile(_file)


def message_class(name: str) -> Message:
    """Give the class of a message by its full name, such as ``inference.ModelInferRequest``."""
    return GetMessageClass(POOL.FindMessageTypeByName(name))


SERVICES = (
    "inference.GRPCInferenceService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)
# By path, such as ``/inference.GRPCInferenceService/ModelInfer``.
METHODS: dict[str, Method] = {
    f"/{service}/{method.name}": Method(
        GetMessageClass(method.input_type),
        GetMessageClass(method.output_type),
        method.client_streaming,
        method.server_streaming,
    )
    for service in SERVICES
    for method in POOL.FindServiceByName(service).methods
}


def parse(message: Message, body: bytes) -> Message:
    """Read a message of a class.

    Raises:
        ServeError: The bytes are not one.
    """
    try:
        return message.FromString(body)
    except DecodeError as error:
        raise ServeError(
            f"body: expected {message.DESCRIPTOR.full_name} as protobuf, found {len(body)} bytes "
            "that are not"
        ) from error
