"""REST on sockets: whatever is said here holds over ASGI and by the connection of our own server.

The two are compared byte by byte for everything that is written in `REQUESTS`.
"""

import asyncio
import gzip
import io
import json
import tracemalloc
import zlib

import httpx
import numpy as np
import pytest
from http_server import chunked, error_of, parse, request, running, undated
from PIL import Image

import lenet_serve
from lenet_runtime.images.digits import load_digits
from lenet_serve.http.coding import inflate

INFER = "/v2/models/lenet/infer"
IMAGES = np.random.default_rng(0).normal(size=(2, 1, 32, 32)).astype(np.float32)


def inference(images=IMAGES, **more):
    data = images.ravel().tolist()
    tensor = {"name": "images", "datatype": "FP32", "shape": images.shape, "data": data}
    return json.dumps({"inputs": [tensor]} | more).encode()


BODY = inference(id="7")
BINARY = json.dumps(
    {
        "inputs": [
            {
                "name": "images", "datatype": "FP32", "shape": IMAGES.shape,
                "parameters": {"binary_data_size": IMAGES.nbytes},
            }
        ],
        "parameters": {"binary_data_output": True},
    }
).encode()  # fmt: skip


@pytest.fixture(scope="module")
def service(native_session):
    return lenet_serve.Service([lenet_serve.Model("lenet", "1", native_session)])


@pytest.fixture(scope="module")
def servers(service):
    with running(service) as own, running(service, over_asgi=True) as plain:
        yield own, plain


@pytest.fixture(params=["own", "asgi"])
def server(servers, request):
    return servers[request.param == "asgi"]


def logits_of(answer):
    status, _, body = answer
    assert status == 200, body
    (logits,) = json.loads(body)["outputs"]
    return np.float32(logits["data"]).reshape(logits["shape"])


# Requests whose answers are the same bytes over both.
REQUESTS = {
    "get": [request("GET", "/v2")],
    "head": [request("HEAD", "/v2/models/lenet")],
    "infer": [request("POST", INFER, BODY)],
    "query": [request("POST", INFER + "?a=b", BODY)],
    "http 1.0": [request("POST", INFER, BODY, version="1.0", connection="keep-alive")],
    "binary": [request("POST", INFER, BINARY + IMAGES.tobytes(),
                       inference_header_content_length=len(BINARY))],
    "gzip in": [request("POST", INFER, gzip.compress(BODY), content_encoding="gzip")],
    "gzip out": [request("GET", "/openapi.json", accept_encoding="gzip")],
    "chunked": [request("POST", INFER, transfer_encoding="chunked"), chunked(BODY[:9], BODY[9:])],
    "byte by byte": [b"%c" % byte for byte in request("GET", "/v2/health/ready")],
    "two at once": [request("GET", "/v2") + request("POST", INFER, BODY)],
    "slow, then fast": [request("POST", "/v1/predict", b"no picture", content_type="image/png")
                        + request("GET", "/v2")],
    "malformed": [request("POST", INFER, b"{")],
    "no model": [request("POST", "/v2/models/no/infer", BODY)],
    "no path": [request("GET", "/no")],
    "no path, a body": [request("POST", "/no", BODY)],
    "no method": [request("DELETE", INFER)],
    "no body": [request("POST", INFER)],
    "unknown coding": [request("POST", INFER, BODY, content_encoding="br")],
    "too large": [request("POST", INFER, content_length=10**12)],
    "expect": [request("POST", INFER, expect="100-continue", content_length=len(BODY)), BODY],
    "expect, too large": [request("POST", INFER, expect="100-continue", content_length=10**12)],
    "percent": [request("GET", "/v2/models/l%65net")],
    "slash in a name": [request("GET", "/v2/models/le%2Fnet")],
    "no text in a name": [request("GET", "/v2/models/%FF%00")],
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_both_send_the_same_bytes(servers, name):
    pieces = list(REQUESTS[name])
    ends = request("GET", "/v2/health/live", connection="close")
    own, plain = (undated(server.exchange(*pieces, ends)) for server in servers)
    assert own == plain
    assert own.startswith(b"HTTP/1.1 ")


def test_logits_are_the_sessions_own(server, native_session):
    answer = server.ask("POST", INFER, BODY)
    assert np.array_equal(logits_of(answer), native_session.run(IMAGES))
    assert json.loads(answer[2])["id"] == "7"


def test_another_protocol_is_not_taken_up(servers):
    """curl --http2 asks so; uvicorn's own leaves such a connection open for good."""
    sent = request("GET", "/v2", connection="Upgrade, HTTP2-Settings", upgrade="h2c")
    (answer,) = parse(servers[0].exchange(sent))
    assert answer[0] == 200
    assert answer[1]["connection"] == "close"


def test_answers_come_in_the_order_of_the_requests(server):
    picture = request("POST", "/v1/predict", png(3), content_type="image/png")
    first = request("POST", INFER, inference(id="first"))
    last = request("POST", INFER, inference(id="last"), connection="close")
    answers = parse(server.exchange(first + picture + picture + last))
    assert [status for status, _, _ in answers] == [200] * 4
    assert json.loads(answers[0][2])["id"] == "first"
    assert json.loads(answers[2][2])["predictions"]
    assert json.loads(answers[3][2])["id"] == "last"


def test_a_client_that_sends_no_more_gets_its_answer(server):
    (answer,) = parse(server.exchange(request("POST", INFER, BODY), half_close=True))
    assert answer[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v2", "/v2/health/live", "/v2/health/ready", "/livez", "/readyz", "/healthz", "/metrics",
        "/v2/models/lenet", "/v2/models/lenet/versions/1", "/v2/models/lenet/ready",
        "/v2/models/lenet/versions/1/ready", "/v2/models/lenet/stats", "/v2/models/stats",
        "/v2/models/lenet/config", "/v2/models/lenet/versions/1/config", "/openapi.json",
        "/v2/trace/setting", "/v2/models/lenet/trace/setting", "/v2/logging",
    ],
)  # fmt: skip
def test_what_is_asked_with_get_is_asked_with_head_too(server, path):
    status, headers, body = server.ask("GET", path)
    assert status == 200
    heads = server.exchange(request("HEAD", path, connection="close"))
    assert heads.endswith(b"\r\n\r\n")
    if path != "/metrics":  # which may have counted meanwhile
        assert f"content-length: {headers['content-length']}\r\n".encode() in heads
        assert len(body) == int(headers["content-length"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/", 404),
        ("GET", "/nope", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models//ready", 404),
        ("GET", "/v2/models/nope", 404),
        ("GET", "/v2/models/nope/ready", 404),
        ("GET", "/v2/models/lenet/versions/7", 404),
        ("GET", "/v2/models/lenet/versions/abc", 404),
        ("GET", "/v2/models/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", INFER, 405),
        ("POST", "/v2/health/ready", 405),
        ("POST", "/v2/trace/setting", 405),
        ("OPTIONS", "/v2", 405),
    ],
)
def test_what_is_not_there(server, method, path, status):
    answer = server.ask(method, path)
    assert answer[0] == status
    assert "expected" in error_of(answer)


def test_405_says_what_is_allowed(server):
    assert server.ask("DELETE", INFER)[1]["allow"] == "POST"
    assert server.ask("POST", "/v2")[1]["allow"] == "GET, HEAD"


def test_a_version_in_the_path(server, native_session):
    answer = server.ask("POST", "/v2/models/lenet/versions/1/infer", BODY)
    assert np.array_equal(logits_of(answer), native_session.run(IMAGES))
    assert server.ask("POST", "/v2/models/lenet/versions/2/infer", BODY)[0] == 404


def test_index_lists_the_model(server):
    (state,) = json.loads(server.ask("POST", "/v2/repository/index")[2])
    assert (state["name"], state["version"], state["state"]) == ("lenet", "1", "READY")
    assert server.ask("POST", "/v2/repository/index", b'{"ready": true}')[0] == 200
    assert server.ask("POST", "/v2/repository/index", b'{"ready": 1}')[0] == 400
    assert server.ask("POST", "/v2/repository/index", b"[]")[0] == 400


def test_models_are_not_loaded_from_afar(server):
    for action in ("load", "unload"):
        answer = server.ask("POST", f"/v2/repository/models/lenet/{action}")
        assert answer[0] == 503
        assert "--allow-model-control" in error_of(answer)


def test_a_body_of_another_coding_is_415(server):
    answer = server.ask("POST", INFER, BODY, content_encoding="br")
    assert answer[0] == 415
    assert answer[1]["accept-encoding"] == "gzip, deflate"
    error_of(answer)


RAW_DEFLATE = zlib.compressobj(wbits=-15)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(BODY)),
        ("GZIP", gzip.compress(BODY[:100]) + gzip.compress(BODY[100:])),
        ("deflate", zlib.compress(BODY)),
        ("deflate", RAW_DEFLATE.compress(BODY) + RAW_DEFLATE.flush()),
        ("identity", BODY),
    ],
    ids=["gzip", "two members", "zlib", "raw deflate", "identity"],
)
def test_bodies_are_inflated(server, native_session, coding, body):
    answer = server.ask("POST", INFER, body, content_encoding=coding)
    assert np.array_equal(logits_of(answer), native_session.run(IMAGES))


@pytest.mark.parametrize(
    "body", [b"no gzip", gzip.compress(BODY)[:-9], gzip.compress(BODY) + b"more", b""]
)
def test_a_damaged_stream_is_400(server, body):
    status, *_ = answer = server.ask(
        "POST", INFER, body, content_encoding="gzip", content_length=len(body)
    )
    assert status == 400
    assert "gzip" in error_of(answer)


def test_a_bomb_is_not_inflated(server, service):
    bomb = gzip.compress(bytes(4 * service.limits.body_bytes), 9)
    answer = server.ask("POST", INFER, bomb, content_encoding="gzip")
    assert answer[0] == 413
    assert str(service.limits.body_bytes) in error_of(answer)


@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("gzip;q=0", False), ("gzip; q=0.0", False),
     ("identity", False), ("*", False)],
)  # fmt: skip
def test_what_is_long_is_compressed_where_that_is_asked_for(server, accepted, zipped):
    _, headers, body = server.ask("GET", "/openapi.json", accept_encoding=accepted)
    assert ("content-encoding" in headers) == zipped
    text = gzip.decompress(body) if zipped else body
    assert json.loads(text)["openapi"] == "3.1.0"


def test_no_more_of_a_bomb_is_inflated_than_is_allowed():
    bomb = gzip.compress(bytes(2**25), 9)
    tracemalloc.start()
    with pytest.raises(lenet_serve.ServeError, match="--max-body"):
        inflate(bomb, b"gzip", 2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def png(*indices):
    file = io.BytesIO()
    Image.fromarray(load_digits().images[indices[0]]).resize((280, 280)).save(file, "PNG")
    return file.getvalue()


def test_predict_takes_a_form_of_pictures(server):
    digits = load_digits()
    files = [("picture", (f"{i} ü.png", png(i), "image/png")) for i in range(4)]
    answer = httpx.post(f"{server.url}/v1/predict", files=files, data={"note": "a text"})
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    assert [p["label"] for p in predictions] == [str(label) for label in digits.labels[:4]]
    assert predictions[0]["file"] == "0 ü.png"
    assert predictions[0]["probability"] == max(predictions[0]["probabilities"].values()) > 0.9


def test_predict_takes_one_picture_as_it_is(server):
    answer = server.ask("POST", "/v1/predict?model=lenet", png(0), content_type="image/png")
    assert json.loads(answer[2])["predictions"][0]["label"] == str(load_digits().labels[0])


BOUNDS = "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("image/png", b"no picture", 400),
        (BOUNDS, b"no form", 400),
        (BOUNDS, b"--x\r\n\r\nno file\r\n--x--\r\n", 400),
        (BOUNDS, b'--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\ncut', 400),
        (BOUNDS, b"--x\r\nno end of headers\r\n--x--", 400),
        ("multipart/form-data", b"--x--", 400),
        ("application/x-www-form-urlencoded", b"picture=7", 400),
    ],
)  # fmt: skip
def test_predict_says_what_it_takes(server, kind, body, status):
    answer = server.ask("POST", "/v1/predict", body, content_type=kind)
    assert answer[0] == status, answer
    error_of(answer)


def test_predict_names_the_models_where_there_is_no_such(server):
    answer = server.ask("POST", "/v1/predict?model=no", png(0), content_type="image/png")
    assert answer[0] == 404
    assert "lenet" in error_of(answer)


def test_errors_never_tell_what_was_sent(server):
    for body in (b'{"secret": 1}', b'{"inputs": "secret"}', b"secret"):
        answer = server.ask("POST", INFER, body)
        assert answer[0] == 400
        assert "secret" not in error_of(answer)


def test_our_own_faults_are_500_and_logged_not_told(server, service, monkeypatch, caplog):
    def broken(*_):
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(service, "submit", broken)
    answer = server.ask("POST", INFER, BODY)
    assert answer[0] == 500
    assert "secret" not in error_of(answer)
    assert "a secret" in caplog.text


def test_mounted_in_another_application(service, native_session):
    """Both as ASGI says, the path whole, and as older servers do, without the root."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    async def ask(app, path):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(path, content=BODY)

    own = lenet_serve.asgi(service)
    mounted = Starlette(routes=[Mount("/a%20b/lenet", own), Mount("/c", own)])

    async def at_root(scope, receive, send):
        await own(scope | {"root_path": "/c"}, receive, send)

    for app, prefix in ((mounted, "/c"), (at_root, "")):
        answer = asyncio.run(ask(app, prefix + INFER))
        assert answer.status_code == 200, answer.text
        assert np.array_equal(
            np.float32(answer.json()["outputs"][0]["data"]).reshape(2, 10),
            native_session.run(IMAGES),
        )
