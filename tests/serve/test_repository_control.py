"""Control calls as clients make them, over both protocols."""

import asyncio

import httpx
import pytest
from model_folders import put, states

import lenet_serve


@pytest.fixture
def post(models, serving):
    """`post(path, **options)` to a server of a model ``a`` that may be controlled."""
    put(models / "a" / "1")
    service = lenet_serve.Service(serving(allow_model_control=True))
    transport = httpx.ASGITransport(lenet_serve.asgi(service))

    async def call(path, options):
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(f"/v2/repository/{path}", **options)

    def post(path, **options):
        return asyncio.run(call(path, options))

    post.service = service
    return post


def test_the_index_follows_what_clients_unload_and_load(post):
    ready = {"name": "a", "version": "1", "state": "READY", "reason": ""}
    assert post("index").json() == [ready]
    assert post("models/a/unload", json={"parameters": {"unload_dependents": False}}).is_success
    assert post("index", json={"ready": True}).json() == []
    assert post("models/a/load").is_success
    assert post("index").json() == [ready]
    answer = post("models/b/load")
    assert answer.status_code == 404
    assert "expected one of a, found 'b'" in answer.json()["error"]


@pytest.mark.parametrize(
    "parameters", [{"config": "{}"}, {"file:1/model.onnx": "AAAA"}, {"config": "{}", "file:x": ""}]
)
def test_no_model_comes_out_of_a_request(post, parameters):
    before = post.service.repository.get("a")
    answer = post("models/a/load", json={"parameters": parameters})
    assert answer.status_code == 400
    assert "models come from the server's folder alone" in answer.json()["error"]
    assert post.service.repository.get("a") is before


def test_no_model_comes_out_of_a_grpc_request(post):
    pytest.importorskip("google.protobuf")
    from lenet_serve import rpc
    from lenet_serve.protocol import messages

    method = messages.METHODS[f"{rpc.PREFIX}RepositoryModelLoad"]
    request = method.request(model_name="a")
    request.parameters["config"].string_param = "{}"
    before = post.service.repository.get("a")
    with pytest.raises(lenet_serve.ServeError, match="models come from the server's folder alone"):
        rpc.answer(post.service, "RepositoryModelLoad", request.SerializeToString())
    assert post.service.repository.get("a") is before


@pytest.mark.parametrize("name", ["..%2F..%2Fetc", "%2Fetc", "..", "a%2F1", "%00", "a%0Ab"])
def test_no_name_is_a_path(post, name):
    assert post(f"models/{name}/load").status_code == 404
    assert states(post.service.repository) == {("a", "1"): "READY"}
