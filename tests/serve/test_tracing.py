"""W3C's traceparent, read strictly, and spans where OpenTelemetry is installed and asked for."""

import sys

import pytest

from lenet_runtime.errors import BackendUnavailable
from lenet_serve import tracing
from lenet_serve.errors import Code
from lenet_serve.protocol.infer import InferRequest, Times

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE_ID}-{SPAN_ID}-01"
TIMES = Times(queue_ns=2_000, input_ns=3_000, infer_ns=7_000, output_ns=1_000, total_ns=61_000)


@pytest.mark.parametrize("header", [GOOD, GOOD[:-2] + "00", GOOD[:-2] + "ff", "cc" + GOOD[2:]])
def test_a_traceparent_is_read(header):
    assert tracing.parse(header) == tracing.parse(header.encode()) == header
    assert tracing.trace_id(header) == TRACE_ID


def test_what_a_later_version_adds_is_left_out():
    assert tracing.parse(f"cc{GOOD[2:]}-what-the-future-will-be") == f"cc{GOOD[2:]}"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "garbage",
        f"{GOOD}-",
        f"{GOOD}\n",
        f" {GOOD}",
        f"{GOOD}, {GOOD}",
        GOOD.upper(),
        "ff" + GOOD[2:],
        f"cc{GOOD[2:]}.extra",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID[1:]}-{SPAN_ID}-011",
        f"00-{TRACE_ID[1:]}g-{SPAN_ID}-01",
        f"00_{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"\u0660\u0660-{TRACE_ID}-{SPAN_ID}-01",
    ],
)
def test_a_malformed_one_is_as_none(header):
    assert tracing.parse(header) == tracing.parse(header.encode()) == ""


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_SDK_DISABLED": "True"}, False),
    ],
)
def test_the_environment_asks_for_spans(monkeypatch, environment, asked):
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SDK_DISABLED",
                 "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tracing.is_configured() is asked


def test_without_opentelemetry_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'lenet-deploy\[otel\]'"):
        tracing.Tracer()


@pytest.fixture
def traced():
    """A tracer, and what it has exported."""
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, spans = InMemorySpanExporter(), TracerProvider()
    spans.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = tracing.Tracer(spans)
    yield tracer, exporter
    tracer.close()


def record(tracer, trace="", code=None, protocol="http"):
    request = InferRequest("lenet", trace=trace)
    tracer.record("lenet", "1", protocol=protocol, code=code, rows=2, times=TIMES, request=request)
    return request.trace


def test_a_request_is_a_span_of_its_clients_trace(traced):
    tracer, exporter = traced
    answer = record(tracer, GOOD)
    *parts, span = exporter.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert f"{span.parent.span_id:016x}" == SPAN_ID
    assert answer == f"00-{TRACE_ID}-{span.context.span_id:016x}-01"
    assert tracing.parse(answer) == answer
    assert span.name == "infer lenet"
    assert span.attributes["lenet.rows"] == 2
    assert span.attributes["http.response.status_code"] == 200
    assert span.end_time - span.start_time == TIMES.total_ns
    durations = {part.name: part.end_time - part.start_time for part in parts}
    assert durations == {"input": 3_000, "queue": 2_000, "infer": 7_000, "output": 1_000}
    assert all(part.parent.span_id == span.context.span_id for part in parts)
    assert min(part.start_time for part in parts) >= span.start_time


def test_without_a_traceparent_a_trace_begins(traced):
    tracer, exporter = traced
    answer = record(tracer)
    span = exporter.get_finished_spans()[-1]
    assert span.parent is None
    assert tracing.trace_id(answer) == f"{span.context.trace_id:032x}"


def test_what_the_client_does_not_sample_is_not_exported(traced):
    tracer, exporter = traced
    answer = record(tracer, GOOD[:-2] + "00")
    assert not exporter.get_finished_spans()
    assert tracing.trace_id(answer) == TRACE_ID
    assert answer.endswith("-00")


def test_our_own_faults_are_errors_and_the_clients_are_not(traced):
    tracer, exporter = traced
    record(tracer, code=Code.MALFORMED, protocol="grpc")
    record(tracer, code=Code.INTERNAL)
    theirs, ours = exporter.get_finished_spans()
    assert theirs.status.is_unset
    assert theirs.attributes["rpc.grpc.status"] == "INVALID_ARGUMENT"
    assert not ours.status.is_ok
    assert not ours.status.is_unset
    assert ours.attributes["http.response.status_code"] == 500


def test_the_environment_says_where_spans_go(monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "digits")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    made = tracing.provider()
    assert made.resource.attributes["service.name"] == "digits"
    made.shutdown()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(BackendUnavailable, match="expected otlp, console or none, found zipkin"):
        tracing.provider()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(BackendUnavailable, match="expected http/protobuf, found grpc"):
        tracing.provider()
