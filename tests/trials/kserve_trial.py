"""Run by .ci/run in an environment of its own: KServe's SDK, which brings 67 distributions.

Its arguments are the addresses of a server of the model `lenet`: of HTTP, as a URL, and of gRPC.
"""

import asyncio
import sys

import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient, InferenceRESTClient, RESTConfig

IMAGES = np.random.default_rng(0).normal(size=(2, 1, 32, 32)).astype(np.float32)


def request(binary):
    tensor = InferInput("images", list(IMAGES.shape), "FP32")
    tensor.set_data_from_numpy(IMAGES, binary_data=binary)
    return InferRequest(model_name="lenet", infer_inputs=[tensor], request_id="7")


async def over_http(url):
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, "lenet")
    answers = [
        await client.infer(url, request(binary), model_name="lenet") for binary in (False, True)
    ]
    await client.close()
    return answers


async def over_grpc(address):
    client = InferenceGRPCClient(address)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("lenet")
    answers = [await client.infer(request(binary)) for binary in (False, True)]
    await client.close()
    return answers


async def main(url, address):
    answers = [*await over_http(url), *await over_grpc(address)]
    logits = [answer.outputs[0].as_numpy() for answer in answers]
    assert all(answer.id == "7" for answer in answers), [answer.id for answer in answers]
    assert logits[0].shape == (2, 10), logits[0].shape
    assert all(np.array_equal(other, logits[0]) for other in logits[1:]), logits
    print("KServe's SDK: HTTP and gRPC, JSON and binary, all the same logits")


asyncio.run(main(*sys.argv[1:]))
