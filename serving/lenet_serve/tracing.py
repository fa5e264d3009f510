"""W3C's trace context, and requests as spans of OpenTelemetry.

Without the extra ``otel`` and somebody who asks for spans, a request's ``traceparent`` is only
checked, logged and sent back.
"""

import os
import re
import time
from typing import TYPE_CHECKING, Any

from lenet_runtime.errors import BackendUnavailable
from lenet_serve.errors import Code
from lenet_serve.protocol.infer import InferRequest, Times

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII
)
_LENGTH = 55


def parse(header: str | bytes) -> str:
    """Read a ``traceparent``, strictly, as W3C's Trace Context says.

    Returns:
        Its part that version 00 defines; empty where it is malformed, as if there were none.
    """
    try:
        text = header.decode("ascii") if isinstance(header, bytes) else header
    except UnicodeDecodeError:
        return ""
    known = text[:_LENGTH]
    if not _TRACEPARENT.fullmatch(known):
        return ""
    # A later version may add fields; ours may not.
    if len(text) > _LENGTH and (text.startswith("00") or text[_LENGTH] != "-"):
        return ""
    return known


def trace_id(trace: str) -> str:
    """The trace's 32 digits of what `parse` returned."""
    return trace[3:35]


def is_configured() -> bool:
    """Whether the environment asks for spans, by OpenTelemetry's standard variables."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter:
        return exporter != "none"
    names = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    return any(os.environ.get(name) for name in names)


def provider() -> "TracerProvider":
    """Make what sends spans, as the ``OTEL_`` variables say, or to OTLP's port on this machine.

    Raises:
        BackendUnavailable: OpenTelemetry, or the exporter that is asked for, is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
    except ImportError as error:
        raise BackendUnavailable(
            f"tracing: {error}; pip install 'lenet-deploy[otel]', or unset OTEL_TRACES_EXPORTER "
            "and OTEL_EXPORTER_OTLP_ENDPOINT"
        ) from error
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
    )
    if exporter not in ("otlp", "console"):
        raise BackendUnavailable(
            f"OTEL_TRACES_EXPORTER: expected otlp, console or none, found {exporter}"
        )
    if exporter == "otlp" and protocol != "http/protobuf":
        raise BackendUnavailable(
            f"OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf, found {protocol}"
        )
    own = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "lenet-deploy"}
    made = TracerProvider(resource=Resource.create(own))
    made.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter() if exporter == "otlp" else ConsoleSpanExporter())
    )
    return made


class Tracer:
    """Makes a span of each request once it has ended, and spans of its parts below.

    Args:
        spans: What takes the spans; None is `provider`.
    """

    def __init__(self, spans: "TracerProvider | None" = None) -> None:
        self._provider = spans or provider()
        self._tracer = self._provider.get_tracer("lenet_serve")

    def record(
        self,
        model: str,
        version: str,
        *,
        protocol: str,
        code: Code | None,
        rows: int,
        times: Times,
        request: InferRequest | None = None,
    ) -> None:
        """Make the spans of a request that ends now; see `lenet_serve.recorder.Recorder`.

        The request's trace becomes that of the span, for the answer.
        """
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

        end_ns = time.time_ns()
        start_ns = end_ns - times.total_ns
        attributes: dict[str, Any] = {
            "lenet.model": model, "lenet.version": version, "lenet.rows": rows,
            "network.protocol.name": protocol,
        }  # fmt: skip
        if protocol == "http":
            attributes["http.response.status_code"] = 200 if code is None else code.http
        else:
            attributes["rpc.grpc.status"] = "OK" if code is None else code.grpc
        span = self._tracer.start_span(
            f"infer {model}" if model else "infer",
            context=_parent(request.trace) if request and request.trace else None,
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=start_ns,
        )
        context = span.get_span_context()
        if request:
            flags = int(context.trace_flags)
            request.trace = f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"
        if span.is_recording():
            if code is None:
                self._parts(set_span_in_context(span), end_ns, times)
            elif code.http >= 500:
                span.set_attribute("error.type", code.name)
                span.set_status(StatusCode.ERROR)
        span.end(end_ns)

    def _parts(self, context: Any, end_ns: int, times: Times) -> None:
        """The last of them ends with the request; what came before them is its reading."""
        for name, duration in (
            ("output", times.output_ns), ("infer", times.infer_ns), ("queue", times.queue_ns),
            ("input", times.input_ns),
        ):  # fmt: skip
            span = self._tracer.start_span(name, context, start_time=end_ns - duration)
            span.end(end_ns)
            end_ns -= duration

    def close(self) -> None:
        """Send what has not been sent."""
        self._provider.shutdown()


def _parent(trace: str) -> Any:
    from opentelemetry.trace import (
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    parent = SpanContext(
        trace_id=int(trace[3:35], 16),
        span_id=int(trace[36:52], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(trace[53:55], 16)),
    )
    return set_span_in_context(NonRecordingSpan(parent))
