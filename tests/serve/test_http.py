"""The REST side, without a socket."""

import asyncio

import httpx
import numpy as np

import lenet_serve


def post(service, path, **options):
    async def call():
        transport = httpx.ASGITransport(lenet_serve.asgi(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(path, **options)

    return asyncio.run(call())


def test_logits_are_the_sessions_own(service, native_session):
    images = np.random.default_rng(0).normal(size=(2, 1, 32, 32)).astype(np.float32)
    data = images.ravel().tolist()
    tensor = {"name": "images", "datatype": "FP32", "shape": images.shape, "data": data}
    answer = post(service, "/v2/models/lenet/infer", json={"id": "7", "inputs": [tensor]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == "7"
    (logits,) = answer.json()["outputs"]
    assert np.array_equal(np.float32(logits["data"]).reshape(2, 10), native_session.run(images))
