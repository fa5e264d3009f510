"""tritonclient, over HTTP and gRPC, sync and asyncio, against a server with both."""

import asyncio
import io
import subprocess

import numpy as np
import pytest
from drawings import rendered
from http_server import running

import lenet_serve
from lenet_serve.limits import Limits
from lenet_serve.protocol.infer import DTYPES

tritonclient = pytest.importorskip("tritonclient")
import tritonclient.grpc as triton_grpc  # noqa: E402
import tritonclient.grpc.aio as triton_grpc_aio  # noqa: E402
import tritonclient.http as triton_http  # noqa: E402
import tritonclient.http.aio as triton_http_aio  # noqa: E402

IMAGES = np.random.default_rng(0).normal(size=(3, 1, 32, 32)).astype(np.float32)
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
MODULES = {"http": triton_http, "grpc": triton_grpc}
AIO = {"http": triton_http_aio, "grpc": triton_grpc_aio}


@pytest.fixture(scope="module")
def service(native_artifact):
    options = {"limits": Limits(), "trust": True}
    with lenet_serve.Service.open(native_artifact.path, **options) as service:
        yield service


@pytest.fixture(scope="module")
def addresses(service):
    with running(service, grpc_port=0) as http:
        grpc = http.server.addresses.partition("grpc: ")[2]
        yield {"grpc": grpc, "http": http.url.removeprefix("http://")}


@pytest.fixture(scope="module")
def digit_png():
    """The first bundled digit, a seven, as a picture."""
    file = io.BytesIO()
    rendered().save(file, "PNG")
    return file.getvalue()


@pytest.fixture(params=["http", "grpc"])
def protocol(request):
    return request.param


@pytest.fixture
def client(addresses, protocol):
    with MODULES[protocol].InferenceServerClient(addresses[protocol]) as client:
        yield client


def tensor(protocol, name, array, **how):
    datatype = "BYTES" if array.dtype == object else _name(array.dtype)
    made = MODULES[protocol].InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, **how)
    return made


def _name(dtype):
    return next(name for name, own in DTYPES.items() if own == dtype)


def outputs(protocol, *names, **how):
    return [MODULES[protocol].InferRequestedOutput(name, **how) for name in names]


def document(protocol, answer):
    """What a metadata call answers, whatever protocol it came by, as JSON's types."""
    if protocol == "http":
        return answer
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(answer, preserving_proto_field_name=True)


def test_logits_are_the_sessions_own(client, protocol, service):
    alone = service.repository.get("lenet").session.run(IMAGES)
    answer = client.infer("lenet", [tensor(protocol, "images", IMAGES)], request_id="7")
    assert np.array_equal(answer.as_numpy("logits"), alone)
    assert document(protocol, answer.get_response())["id"] == "7"


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("sent", [True, False])
def test_json_and_binary_over_http_are_the_same(addresses, service, sent, asked):
    alone = service.repository.get("lenet").session.run(IMAGES)
    with triton_http.InferenceServerClient(addresses["http"]) as client:
        answer = client.infer(
            "lenet",
            [tensor("http", "images", IMAGES, binary_data=sent)],
            outputs=outputs("http", "logits", binary_data=asked),
        )
    assert np.array_equal(answer.as_numpy("logits"), alone)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(client, protocol, service, algorithm):
    alone = service.repository.get("lenet").session.run(IMAGES)
    compression = {"request_compression_algorithm": algorithm}
    if protocol == "http":
        compression["response_compression_algorithm"] = algorithm
    else:
        compression = {"compression_algorithm": algorithm}
    answer = client.infer("lenet", [tensor(protocol, "images", IMAGES)], **compression)
    assert np.array_equal(answer.as_numpy("logits"), alone)


def test_pixels_and_all_outputs(client, protocol, service):
    prediction = service.repository.get("lenet").session.predict(PIXELS)
    answer = client.infer(
        "lenet",
        [tensor(protocol, "pixels", PIXELS)],
        outputs=outputs(protocol, "probabilities", "labels", "logits"),
    )
    assert np.array_equal(answer.as_numpy("probabilities"), prediction.probabilities)
    assert [int(label) for label in answer.as_numpy("labels")] == prediction.labels.tolist()
    assert np.array_equal(answer.as_numpy("logits").argmax(axis=1), prediction.labels)


def test_files(client, protocol, digit_png):
    files = np.array([digit_png] * 2, dtype=object)
    answer = client.infer(
        "lenet", [tensor(protocol, "file", files)], outputs=outputs(protocol, "labels")
    )
    assert answer.as_numpy("labels").tolist() == [b"7", b"7"]


def test_classification(client, protocol, service):
    alone = service.repository.get("lenet").session.run(IMAGES)
    asked = outputs(protocol, "logits", class_count=2)
    answer = client.infer("lenet", [tensor(protocol, "images", IMAGES)], outputs=asked)
    rows = answer.as_numpy("logits").reshape(3, 2)
    for row, logits in zip(rows, alone, strict=True):
        _, index, label = row[0].decode().split(":")
        assert (int(index), label) == (logits.argmax(), str(logits.argmax()))


def test_what_is_told_of_the_server_and_the_model(client, protocol):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("lenet")
    assert client.is_model_ready("lenet", "1")
    assert not client.is_model_ready("nope")
    assert document(protocol, client.get_server_metadata())["name"] == "lenet-deploy"
    metadata = document(protocol, client.get_model_metadata("lenet"))
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["images", "pixels", "file"]
    config = document(protocol, client.get_model_config("lenet"))
    config = config.get("config", config)
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    index = document(protocol, client.get_model_repository_index())
    (model,) = index if protocol == "http" else index["models"]
    assert (model["name"], model["version"], model["state"]) == ("lenet", "1", "READY")
    assert client.get_inference_statistics("lenet")
    assert client.get_trace_settings()
    assert client.get_log_settings()


def test_what_is_refused_says_why(client, protocol):
    error = tritonclient.utils.InferenceServerException
    with pytest.raises(error, match="expected one of"):
        client.infer("nope", [tensor(protocol, "images", IMAGES)])
    with pytest.raises(error, match="expected datatype FP32"):
        client.infer("lenet", [tensor(protocol, "images", IMAGES.astype(np.int32))])
    with pytest.raises(error):
        client.load_model("lenet")
    with pytest.raises(error):
        client.update_log_settings({"log_verbose_level": 1})


def test_a_timeout_that_has_passed(client, protocol):
    with pytest.raises(tritonclient.utils.InferenceServerException, match="deadline"):
        client.infer("lenet", [tensor(protocol, "images", IMAGES)], timeout=1)  # microsecond


def test_asyncio(addresses, protocol, service):
    alone = service.repository.get("lenet").session.run(IMAGES)

    async def infer():
        async with AIO[protocol].InferenceServerClient(addresses[protocol]) as client:
            assert await client.is_server_ready()
            asked = (client.infer("lenet", [tensor(protocol, "images", IMAGES)]) for _ in range(8))
            return await asyncio.gather(*asked)

    for answer in asyncio.run(infer()):
        assert np.array_equal(answer.as_numpy("logits"), alone)


def test_a_stream(addresses, service):
    alone = service.repository.get("lenet").session.run(IMAGES)
    answers = []
    with triton_grpc.InferenceServerClient(addresses["grpc"]) as client:
        client.start_stream(lambda result, error: answers.append((result, error)))
        for name in ("lenet", "nope", "lenet"):
            client.async_stream_infer(name, [tensor("grpc", "images", IMAGES)])
        client.stop_stream()
    (first, _), (_, error), (last, _) = answers
    assert np.array_equal(first.as_numpy("logits"), alone)
    assert np.array_equal(last.as_numpy("logits"), alone)
    assert "expected one of" in str(error)


def test_curl(addresses, tmp_path, digit_png):
    url = f"http://{addresses['http']}"
    assert curl(f"{url}/v2/health/ready", "-o", "/dev/null", "-w", "%{http_code}") == "200"
    body = tmp_path / "request.json"
    data = ",".join(map(str, PIXELS[0].ravel().tolist()))
    body.write_text(
        f'{{"inputs":[{{"name":"pixels","datatype":"UINT8","shape":[1,28,28],"data":[{data}]}}]}}'
    )
    answer = curl(f"{url}/v2/models/lenet/infer", "--data-binary", f"@{body}")
    assert '"name":"logits"' in answer
    picture = tmp_path / "digit.png"
    picture.write_bytes(digit_png)
    assert '"7"' in curl(f"{url}/v1/predict", "-F", f"picture=@{picture}")


def curl(*arguments):
    done = subprocess.run(["curl", "-sS", *arguments], capture_output=True, text=True, check=True)
    return done.stdout
