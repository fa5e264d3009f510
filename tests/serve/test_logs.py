"""One line a request, as JSON or text, that no client can forge."""

import io
import json
import logging
import time

import pytest

import lenet_serve
from lenet_runtime.errors import InputError
from lenet_serve import logs
from lenet_serve.errors import Code
from lenet_serve.observer import Observer
from lenet_serve.protocol.infer import InferRequest, Times

TIMES = Times(
    queue_ns=2_900, input_ns=3_000, infer_ns=7_000, output_ns=1_500, total_ns=61_000, batch=1
)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def logger_as_before():
    logger = logging.getLogger("lenet_serve")
    before = logger.handlers[:], logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate = before[:2]
    logger.setLevel(before[2])


@pytest.fixture(params=logs.FORMATS)
def stream(request):
    stream = io.StringIO()
    logs.configure(request.param, worker=3, stream=stream)
    stream.format = request.param
    return stream


def log(code=None, *, protocol="http", sample="1", model="lenet", version="1", **fields):
    request = InferRequest(model, **fields)
    logs.RequestLog(logs.sample(sample)).record(
        model, version, protocol=protocol, code=code, rows=2, times=TIMES, request=request
    )


def test_json_has_all_that_is_known():
    stream = io.StringIO()
    logs.configure("json", worker=3, stream=stream)
    log(id="17", tag="unused", trace=TRACE)
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "INFO",
        "worker": 3,
        "id": "17",
        "model": "lenet",
        "version": "1",
        "rows": 2,
        "queue_us": 2,
        "compute_us": 11,
        "total_us": 61,
        "code": 200,
        "protocol": "http",
        "trace": "0af7651916cd43dd8448eb211c80319c",
    }


def test_text_has_it_for_people():
    stream = io.StringIO()
    logs.configure("text", worker=3, stream=stream)
    log(id="17", trace=TRACE)
    _, _, rest = stream.getvalue().partition("Z ")
    assert rest == (
        'INFO lenet_serve.requests[3] http 200 "lenet" version="1" rows=2 queue=2us compute=11us '
        'total=61us id="17" trace=0af7651916cd43dd8448eb211c80319c\n'
    )


def test_time_is_of_utc(stream, monkeypatch):
    monkeypatch.setattr(logs.time, "time", lambda: 1_764_230_617.0625)
    with monkeypatch.context() as zone:
        zone.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        log()
    time.tzset()
    assert "2025-11-27T08:03:37.062Z" in stream.getvalue()


def test_an_x_request_id_stands_in_for_an_id(stream):
    log(tag="from-a-proxy")
    assert '"from-a-proxy"' in stream.getvalue()


@pytest.mark.parametrize(
    "text", ["two\nlines", '"}{"level":"ERROR', "\x1b[2J\x7f\x9b", "é\u2028\ud800", "x" * 10**6]
)
def test_what_a_client_wrote_stays_on_one_short_line(stream, text):
    log(id=text)
    (line,) = stream.getvalue().splitlines()
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 1200
    if stream.format == "json":
        assert json.loads(line)["id"] == text[:128]


def test_failures_have_a_level_and_the_protocols_status(stream):
    for code, protocol in (
        (Code.MALFORMED, "http"),
        (Code.INTERNAL, "http"),
        (Code.DEADLINE, "grpc"),
    ):
        log(code, protocol=protocol)
    lines = stream.getvalue().splitlines()
    for line, level, status in zip(
        lines, ("WARNING", "ERROR", "WARNING"), ("400", "500", "DEADLINE_EXCEEDED"), strict=True
    ):
        assert level in line
        assert status in line


@pytest.mark.parametrize(("share", "lines"), [("1/100", 10), ("0.25", 250), ("2/3", 667), ("0", 0)])
def test_a_share_of_the_answered_and_all_failures_are_logged(stream, share, lines):
    requests = logs.RequestLog(logs.sample(share))
    for number in range(1000):
        requests.record("lenet", "1", protocol="http", code=None, rows=1, times=TIMES)
        if number % 100 == 0:
            requests.record("lenet", "1", protocol="http", code=Code.INTERNAL, rows=1, times=TIMES)
    text = stream.getvalue()
    assert text.count("ERROR") == 10
    assert text.count("INFO") == lines


@pytest.mark.parametrize("text", ["", "all", "1/0", "2", "-1/2", "nan"])
def test_a_sample_that_is_none(text):
    with pytest.raises(InputError, match="log sample: expected a number from 0 to 1"):
        logs.sample(text)


def test_other_messages_and_their_exceptions_are_one_line_too(stream):
    logger = logging.getLogger("lenet_serve.repository")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logger.exception("loading %s failed", "lenet")
    text = stream.getvalue()
    assert "loading lenet failed" in text
    if stream.format == "json":
        line = json.loads(text)
        assert line["logger"] == "lenet_serve.repository"
        assert line["message"] == "loading lenet failed"
        assert "ValueError: two\nlines" in line["exception"]


def test_an_embedder_handles_records_in_its_own_way(caplog):
    """Nothing was configured: the records go where its own logging says."""
    with caplog.at_level(logging.INFO, "lenet_serve"):
        log(id="17")
    (record,) = caplog.records
    assert record.msg.id == "17"
    assert record.msg.total_us == 61
    assert 'id="17"' in record.getMessage()


def test_nothing_is_made_of_a_request_that_nobody_logs(monkeypatch):
    logging.getLogger("lenet_serve").setLevel(logging.WARNING)
    monkeypatch.setattr(logs, "RequestLine", None)  # would raise
    log()


def test_a_services_requests_are_logged_by_the_call_that_counts_them(native_session):
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    observer = Observer(log=logs.RequestLog())
    service = lenet_serve.Service(
        [lenet_serve.Model("lenet", "1", native_session)], metrics=observer
    )
    with pytest.raises(lenet_serve.ServeError):
        service.infer(InferRequest("lenet", id="mine", trace=TRACE))
    line = json.loads(stream.getvalue())
    assert (line["id"], line["code"], line["model"]) == ("mine", 400, "lenet")
    assert line["trace"] == TRACE[3:35]
    assert observer.statistics("lenet", "1")["inference_stats"]["fail"]["count"] == 1


def test_a_call_of_grpc_is_named_by_its_metadata(service):
    pytest.importorskip("google.protobuf")
    from lenet_serve import rpc

    stream = io.StringIO()
    logs.configure("json", stream=stream)
    service.metrics = Observer(log=logs.RequestLog())
    for body in (b"", b"\xff"):  # of no model, and no message at all
        with pytest.raises(lenet_serve.ServeError):
            rpc.infer(service, body, trace=TRACE, tag="of a proxy")
    for line in map(json.loads, stream.getvalue().splitlines()):
        assert (line["id"], line["trace"]) == ("of a proxy", TRACE[3:35])
        assert line["protocol"] == "grpc"
    assert len(stream.getvalue().splitlines()) == 2
