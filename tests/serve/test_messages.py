"""The messages of gRPC's services: a private pool, and what it was made from."""

import importlib.resources
import subprocess
import sys

import pytest

from lenet_serve.errors import ServeError
from lenet_serve.protocol import messages

PROTOS = importlib.resources.files("lenet_serve.protocol") / "protos"


def test_our_messages_and_tritonclients_live_in_one_process():
    client = pytest.importorskip("tritonclient.grpc").service_pb2
    ours = messages.message_class("inference.ModelInferRequest")
    assert ours is not client.ModelInferRequest
    sent = client.ModelInferRequest(model_name="lenet", raw_input_contents=[b"1234"])
    sent.parameters["timeout"].int64_param = 7
    received = ours.FromString(sent.SerializeToString())
    assert received.raw_input_contents == [b"1234"]
    assert received.parameters["timeout"].int64_param == 7


def test_every_field_of_ours_is_tritons_own():
    pytest.importorskip("tritonclient.grpc")
    from tritonclient.grpc import model_config_pb2, service_pb2

    theirs = {
        **service_pb2.DESCRIPTOR.message_types_by_name,
        **model_config_pb2.DESCRIPTOR.message_types_by_name,
    }
    for name in ("inference.proto", "model_config.proto"):
        for message in messages.POOL.FindFileByName(name).message_types_by_name.values():
            assert fields(message) <= fields(theirs[message.name]), message.name


def fields(message):
    return {
        (field.name, field.number, field.type, field.is_repeated if hasattr(field, "is_repeated")
         else field.label, field.message_type and field.message_type.full_name)
        for field in message.fields
    }  # fmt: skip


def test_the_descriptors_are_those_of_the_proto_files(tmp_path):
    pytest.importorskip("grpc_tools", reason="needs protoc, from grpcio-tools")
    built = tmp_path / "descriptors.binpb"
    names = [f"{name}.proto" for name in ("inference", "health", "reflection")]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"--descriptor_set_out={built}",
         "--include_imports", *names, "reflection_v1alpha.proto"],
        check=True,
    )  # fmt: skip
    assert built.read_bytes() == (PROTOS / "descriptors.binpb").read_bytes()


def test_the_two_reflections_differ_in_their_name_alone():
    first = (PROTOS / "reflection.proto").read_text().partition("package")[2]
    second = (PROTOS / "reflection_v1alpha.proto").read_text().partition("package")[2]
    assert second.replace(".v1alpha;", ".v1;") == first


def test_garbage_is_refused_without_being_echoed():
    with pytest.raises(ServeError, match=r"expected inference.ModelInferRequest .* 7 bytes"):
        messages.parse(messages.message_class("inference.ModelInferRequest"), b"\xffgarbag")
