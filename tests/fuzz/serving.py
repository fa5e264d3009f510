"""What clients send to a server, mutated from what is right: REST, gRPC, and HTTP byte by byte.

A case is `REQUESTS` of them, all to one server in this process. Each is answered or refused as a
client's fault: never as ours, never at length, and what was right is answered to the bit.
"""

import asyncio
import contextlib
import copy
import gzip
import json
import logging
import zlib
from types import SimpleNamespace

from samples import digits, raw_digits

import lenet_serve
from lenet_serve.errors import ServeError
from lenet_serve.http.application import Application
from lenet_serve.http.connection import Connection
from lenet_serve.http.messages import Pending
from lenet_serve.protocol.infer import DTYPES
from lenet_serve.protocol.messages import METHODS
from lenet_serve.rpc import PREFIX, answer
from tests.fuzz import Draw
from tests.fuzz.artifacts import ODD, mangled
from tests.fuzz.worker import resident

REQUESTS = 200  # in a case
LONGEST_ERROR = 4000  # characters of a message to a client, of which DeployError keeps no more
GROWTH_MIB = 60  # of the process, from its first case's end to its last
INFER = "/v2/models/lenet/infer"
PATHS = [
    INFER, "/v2/models/lenet/versions/1/infer", "/v2/models/other/infer", "/v2/models/lenet",
    "/v2/models/lenet/versions/99/infer", "/v2/models/lenet/config", "/v2/models/lenet/stats",
    "/v2/models/lenet/ready", "/v2", "/v2/models/stats", "/v2/repository/index", "/metrics",
    "/v2/repository/models/lenet/load", "/v2/logging", "/v2/trace/setting", "/v1/predict",
    "/v1/predict?model=lenet&pixels=true", "/", "/docs", "/openapi.json", "/livez", "/%00/..%2f",
]  # fmt: skip
METHOD_NAMES = ["POST"] * 8 + ["GET", "HEAD", "PUT", "OPTIONS", "x"]
DATATYPES = [*DTYPES, "BYTES", "BF16", "", "fp32"]
IMAGES, PIXELS = digits(4), raw_digits(4)


@contextlib.contextmanager
def service(artifacts):
    """A service of one model, and the list of what it logs as its own failures."""
    failures = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: failures.append(logging.Formatter().format(record)[-1500:])
    logging.getLogger("lenet_serve").addHandler(handler)
    logging.getLogger("lenet_serve").propagate = False
    with lenet_serve.Service.open(artifacts / "native", trust=True) as own:
        yield own, failures


def cases(one, failures):
    """A campaign's function: `one` request after another, and memory that does not grow."""
    seen = []

    def case(draw):
        for number in range(REQUESTS):
            note = [f"request {number}"]
            try:
                one(draw, note)
                assert not failures, f"our own fault: {failures.pop()}"
            except BaseException:
                draw.note("; ".join(note)[:2000])
                raise
        seen[1:] = [resident()]
        grown = seen[-1] - seen[0]
        assert grown < GROWTH_MIB, f"grew by {grown:.0f} MiB"
        return f"of {REQUESTS} requests"

    seen.append(resident())
    return case


def mutated(draw, document):
    """A copy with a few of its values replaced, dropped or doubled, anywhere in it."""
    count = draw.few() - 1
    document = copy.deepcopy(document) if count else document
    for _ in range(count):
        place, key = document, None
        while isinstance(place, dict | list) and place:
            key = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if not isinstance(place[key], dict | list) or not place[key] or draw.random() < 0.3:
                break
            place = place[key]
        if key is None or not isinstance(place, dict | list) or not place:
            continue
        what = draw.choice(["odd", "odd", "odd", "drop", "double", "nest"])
        if what == "drop":
            del place[key]
        elif what == "double" and isinstance(place, list):
            place += place[: draw.choice([1, 5, 1000])]
        elif what == "nest":
            place[key] = [place[key]] if draw.random() < 0.9 else nested(draw)
        else:
            place[key] = copy.deepcopy(draw.choice([*ODD, *DATATYPES]))
    return document


def nested(draw):
    value = []
    for _ in range(draw.choice([20, 500])):
        value = [value]
    return value


# ---- REST


def rest_request(draw):
    """A right request to `INFER`, perhaps mutated as JSON: its header, body, and right logits."""
    count, as_json = draw.randrange(1, 5), draw.random() < 0.1
    count = 1 if as_json else count  # many numbers take the fuzzer longer than the server
    images, name = IMAGES[:count], draw.choice(["images", "images", "pixels", "file"])
    array = {"images": images, "pixels": PIXELS[:count], "file": images[:0]}[name]
    datatype = {"images": "FP32", "pixels": "UINT8", "file": "BYTES"}[name]
    tensor = {"name": name, "shape": list(array.shape), "datatype": datatype}
    document, raw = {"id": "i", "inputs": [tensor]}, b""
    if name == "file":
        document["inputs"] = [tensor | {"shape": [2], "data": ["x", "iVBORw0KGgo"]}]
    elif not as_json:
        raw = array.tobytes()
        tensor["parameters"] = {"binary_data_size": len(raw)}
    else:
        tensor["data"] = array.ravel().tolist() if draw.random() < 0.5 else array.tolist()
    if draw.random() < 0.3:
        wish = {"name": draw.choice(["logits", "probabilities", "labels"]), "parameters": {}}
        wish["parameters"][draw.choice(["binary_data", "classification"])] = draw.choice([True, 3])
        document["outputs"] = [wish]
    else:
        document["parameters"] = {"binary_data_output": True, "timeout": 10**9}
    changed = mutated(draw, document)
    right = changed is document and "parameters" in document and name != "file"
    text = json.dumps(changed).encode()
    headers = {b"inference-header-content-length": b"%d" % len(text)} if raw else {}
    return headers, text + raw, count if right else 0


def encoded(draw, headers, body):
    """The body behind a coding, which may not be the one that is said."""
    coding = draw.choice([b"gzip", b"deflate", b"GZIP", b"br", b"identity", b""])
    headers[b"content-encoding"] = coding
    return draw.choice([gzip.compress, zlib.compress, bytes])(body)


def form(draw, headers):
    """A form with pictures that are none."""
    headers[b"content-type"] = draw.choice(
        [b"multipart/form-data; boundary=a", b"image/png", b"multipart/form-data", b""]
    )
    part = b"--a\r\nContent-Disposition: form-data; name=p; filename=f\r\n\r\n\x89PNG\r\n"
    return part * draw.randrange(4) + b"--a--"


def hostile(draw):
    """A request: method, path, headers, body, and how many images it asks rightly, 0 for none."""
    headers, body, count = rest_request(draw)
    method, path = "POST", INFER
    if draw.random() < 0.2:
        method, path, count = draw.choice(METHOD_NAMES), draw.choice(PATHS), 0
    if "predict" in path:
        body = form(draw, headers)
    if draw.random() < 0.1:
        name = draw.choice([b"traceparent", b"accept-encoding", b"x-request-id", b"expect",
                            b"inference-header-content-length", b"content-length"])  # fmt: skip
        value = draw.choice([b"", b"-1", b"9" * 30, b"\xff\x00", b"gzip;q=0", b"00-" + b"a" * 52,
                             b"0", b"1_0", b"\xb2"])  # fmt: skip
        headers[name], count = value, 0
    if draw.random() < 0.3:
        body, count = mangled(draw, body)[0], 0
    if draw.random() < 0.1:
        body, count = encoded(draw, headers, body), 0
    return method, path, headers, body, count


@contextlib.contextmanager
def rest(artifacts, scratch):
    """Requests to the application, without a network."""
    with service(artifacts) as (own, failures):
        application = Application(own)
        right = [own.repository.get("lenet").session.run(IMAGES[:n]).tobytes() for n in range(1, 5)]

        def one(draw, note):
            method, path, headers, body, count = hostile(draw)
            note += [f"{method} {path} {headers} {body[:700]!r}"]
            bare, _, query = path.encode().partition(b"?")
            try:
                route, request = application.begin(method, bare, query, list(headers.items()))
            except ServeError as error:
                reply, _ = application.refuse_early(error, method, list(headers.items()))
            else:
                reply = application.answer(route, request, body)
                if isinstance(reply, Pending):
                    reply.future.exception(60)
                    reply = application.finish(reply, request)
            told(reply.status, reply.body)
            if count:
                assert reply.status == 200, reply.body
                assert reply.body.endswith(right[count - 1]), "wrong"

        yield cases(one, failures)


def told(status, body):
    """A client's own fault, and not at length."""
    assert 200 <= status < 500 or status in (501, 503, 504), (status, body[:500])
    if status >= 300 and body:
        length = len(json.loads(body)["error"])
        assert length <= LONGEST_ERROR, f"{status} of {length} characters"


# ---- gRPC


def message(draw):
    """A right ``ModelInferRequest``, perhaps with odd fields; how many images it asks rightly."""
    count = draw.randrange(1, 5)
    images, odd = IMAGES[:count], draw.random() < 0.7
    tensor = {"name": "images", "datatype": "FP32", "shape": list(images.shape)}
    fields = {"model_name": "lenet", "id": "i", "inputs": [tensor]}
    if draw.random() < 0.5:
        fields["raw_input_contents"] = [images.tobytes()]
    else:
        tensor["contents"] = {"fp32_contents": images.ravel().tolist()}
    for _ in range(draw.few() if odd else 0):
        texts = ["", "x", "lenet", "1", "pixels", "file", "N" * 100_000, "\u00e9", *DATATYPES]
        what = draw.randrange(8)
        if what < 3:
            where = draw.choice([(fields, "model_name"), (fields, "model_version"), (fields, "id"),
                                 (tensor, "name"), (tensor, "datatype")])  # fmt: skip
            where[0][where[1]] = draw.choice(texts)
        elif what == 3:
            sizes = [-1, 0, 1, 4, 2**31, 2**62, 2**63 - 1]
            tensor["shape"] = [draw.choice(sizes) for _ in range(draw.randrange(40))]
        elif what == 4:
            typed = {"int_contents": [1], "uint_contents": [2**32 - 1], "bytes_contents": [b"x"],
                     "bool_contents": [True], "int64_contents": [-(2**63)]}  # fmt: skip
            name = draw.choice(list(typed))
            tensor["contents"] = {name: typed[name] * draw.choice([0, 1, 784])}
        elif what == 5:
            fields["raw_input_contents"] = [draw.randbytes(draw.choice([0, 4, 784]))] * draw.few()
        elif what == 6:
            value = draw.choice([{"int64_param": -1}, {"string_param": "N" * 9000}, {},
                                 {"bool_param": True}, {"double_param": float("nan")}])  # fmt: skip
            name = draw.choice([*texts, "timeout", "priority", "classification"])
            where = draw.choice([fields, tensor, None]) or {}
            where["parameters"] = {name: value}
        else:
            fields["outputs"] = [{"name": draw.choice(["logits", "labels", *texts])}] * draw.few()
    body = METHODS[PREFIX + "ModelInfer"].request(**fields).SerializeToString()
    return body, 0 if odd else count


@contextlib.contextmanager
def grpc(artifacts, scratch):
    """Messages to each method, without a network."""
    names = [path.removeprefix(PREFIX) for path in METHODS] + ["", "Nothing"]
    with service(artifacts) as (own, failures):
        right = [own.repository.get("lenet").session.run(IMAGES[:n]).tobytes() for n in range(1, 5)]

        def one(draw, note):
            body, count = message(draw)
            name = "ModelInfer" if draw.random() < 0.9 else draw.choice(names)
            if draw.random() < 0.3 or name != "ModelInfer":
                body, count = mangled(draw, body)[0], 0
            note += [f"{name} {body[:700]!r}"]
            try:
                answered = answer(own, name, body)
            except ServeError as error:
                told(error.code.http, json.dumps({"error": str(error)}))
                if count:
                    raise AssertionError("refused, though it is right") from error
                return
            document = METHODS[PREFIX + name].response.FromString(answered)
            if count:
                assert document.raw_output_contents[0] == right[count - 1], "wrong"

        yield cases(one, failures)


# ---- HTTP


class Transport:
    """What a connection writes to."""

    def __init__(self):
        self.written, self.ended = bytearray(), False

    write = property(lambda self: self.written.extend)
    pause_reading = resume_reading = lambda self: None

    def close(self):
        self.ended = True

    abort = write_eof = close

    def is_closing(self):
        return self.ended

    def can_write_eof(self):
        return True


@contextlib.contextmanager
def http(artifacts, scratch):
    """Bytes to a connection, in pieces of any length: several requests, whole or damaged."""
    loop = asyncio.new_event_loop()
    with service(artifacts) as (own, failures), contextlib.closing(loop):
        application = Application(own)
        state = SimpleNamespace(connections=set(), default_headers=[])

        async def exchange(pieces):
            connection = Connection(application, state, loop)
            transport = Transport()
            connection.connection_made(transport)
            for piece in pieces:
                if transport.ended:
                    break
                connection.data_received(piece)
                while connection._waited:
                    await asyncio.sleep(0)
            connection.connection_lost(None)
            return bytes(transport.written)

        def one(draw, note):
            data = b"".join(written(draw) for _ in range(draw.few()))
            if draw.random() < 0.7:
                data, steps = mangled(draw, data)
                note += [steps]
            note += [repr(data[:1200])]
            cuts = sorted(draw.randrange(len(data) + 1) for _ in range(draw.few() - 1))
            pairs = zip([0, *cuts], [*cuts, len(data)], strict=True)
            pieces = [data[a:b] for a, b in pairs]
            replies = loop.run_until_complete(exchange(pieces))
            assert not replies or replies.startswith(b"HTTP/1.1 "), replies[:100]
            assert b"HTTP/1.1 500 " not in replies, replies[:500]
            assert application.context.held_bytes == 0, application.context.held_bytes
            assert not state.connections

        yield cases(one, failures)


def written(draw: Draw):
    """A request as it travels."""
    method, path, headers, body, _ = hostile(draw)
    lines = [f"{method} {path} HTTP/1.{draw.choice([1, 1, 1, 0])}".encode(), b"host: x"]
    lines += [name + b": " + value for name, value in headers.items()]
    if draw.random() < 0.2:
        lines += [b"transfer-encoding: chunked"]
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    elif b"content-length" not in headers:
        lines += [b"content-length: %d" % len(body)]
    return b"\r\n".join([*lines, b"", body])
