"""One line of log a request, as JSON or as text, by way of Python's own logging.

`RequestLog` gives each request to the logger ``lenet_serve.requests`` as a `RequestLine`, which
any handler can format in its own way. `configure` is for a process that is a server and nothing
else: it has all that `lenet_serve` logs written to one stream.
"""

import itertools
import json
import logging
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from json.encoder import encode_basestring_ascii
from typing import IO

from lenet_runtime.errors import InputError
from lenet_serve.errors import Code
from lenet_serve.protocol.infer import InferRequest, Times
from lenet_serve.tracing import trace_id

FORMATS = ("json", "text")
_LEVELS = {logging.INFO: "INFO", logging.WARNING: "WARNING", logging.ERROR: "ERROR"}
_LONGEST = 128  # characters of what a client wrote


@dataclass(slots=True)
class RequestLine:
    """What is logged of a request: never its body.

    Attributes:
        id: What the client calls the request, by V2's id or ``X-Request-Id``.
        trace: The trace's id, 32 hexadecimal digits; empty for none.
        model, version: Whose it was; empty where it was nobody's.
        protocol: ``http`` or ``grpc``.
        code: The status of HTTP, or the name of gRPC's.
        rows: The request's images.
        queue_us, compute_us, total_us: Microseconds that it waited, that it was prepared, computed
            and answered, and all in all.
    """

    id: str
    trace: str
    model: str
    version: str
    protocol: str
    code: int | str
    rows: int
    queue_us: int
    compute_us: int
    total_us: int

    def __str__(self) -> str:
        named = f" id={_quoted(self.id)}" if self.id else ""
        traced = f" trace={self.trace}" if self.trace else ""
        return (
            f"{self.protocol} {self.code} {_quoted(self.model)} version={_quoted(self.version)} "
            f"rows={self.rows} queue={self.queue_us}us compute={self.compute_us}us "
            f"total={self.total_us}us{named}{traced}"
        )

    def json(self) -> str:
        """The fields of a JSON object, without its braces."""
        code = self.code if type(self.code) is int else f'"{self.code}"'
        return (
            f'"id":{_quoted(self.id)},"model":{_quoted(self.model)},'
            f'"version":{_quoted(self.version)},"rows":{self.rows},"queue_us":{self.queue_us},'
            f'"compute_us":{self.compute_us},"total_us":{self.total_us},"code":{code},'
            f'"protocol":"{self.protocol}","trace":"{self.trace}"'
        )


class RequestLog:
    """Logs requests; thread-safe.

    Args:
        sample: The share of answered requests that is logged. Those that failed all are.
        logger: Where; None is ``lenet_serve.requests``.
    """

    def __init__(
        self, sample: Fraction = Fraction(1), logger: logging.Logger | None = None
    ) -> None:
        self._logger = logger or logging.getLogger("lenet_serve.requests")
        self._share = sample.limit_denominator(10**6).as_integer_ratio()
        self._requests = itertools.count()
        self._blank = logging.LogRecord(self._logger.name, 0, "", 0, "", (), None).__dict__

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
        """Log a request that has ended; see `lenet_serve.recorder.Recorder`."""
        if code is None:
            level, status = logging.INFO, 200 if protocol == "http" else "OK"
            share, of = self._share
            if next(self._requests) * share % of >= share:
                return
        else:
            level = logging.ERROR if code is Code.INTERNAL else logging.WARNING
            status = code.http if protocol == "http" else code.grpc
        logger = self._logger
        if not logger.isEnabledFor(level):
            return
        line = RequestLine(
            (request.id or request.tag) if request else "",
            trace_id(request.trace) if request else "",
            model,
            version,
            protocol,
            status,
            rows,
            times.queue_ns // 1000,
            (times.input_ns + times.infer_ns + times.output_ns) // 1000,
            times.total_ns // 1000,
        )
        logger.handle(self._logged(level, line))

    def _logged(self, level: int, line: RequestLine) -> logging.LogRecord:
        """A record without what it costs to ask who called, from which thread of which process."""
        record = logging.LogRecord.__new__(logging.LogRecord)
        record.__dict__.update(self._blank)
        record.created = created = time.time()
        record.msecs = created % 1 * 1000
        record.levelno, record.levelname = level, _LEVELS[level]
        record.msg = line  # whose str is the message
        return record


class Formatter(logging.Formatter):
    """Writes each record as one line, with a time of UTC.

    Args:
        format: One of `FORMATS`.
        worker: The number of this worker process; None where there are no workers, or for
            their supervisor.
    """

    def __init__(self, format: str = "text", worker: int | None = None) -> None:
        super().__init__()
        self._json = format == "json"
        self._worker = (
            "" if worker is None else f'"worker":{worker},' if self._json else f"[{worker}]"
        )
        self._second = (0, "")

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        moment, level, line = self._time(record), record.levelname, record.msg
        if not self._json:
            text = super().format(record)
            return f"{moment} {level} {record.name}{self._worker} {text}"
        begin = f'{{"time":"{moment}","level":"{level}",{self._worker}'
        if type(line) is RequestLine:
            return f"{begin}{line.json()}}}"
        fields = {"logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return begin + json.dumps(fields, separators=(",", ":"))[1:]

    def _time(self, record: logging.LogRecord) -> str:
        second = int(record.created)
        known, prefix = self._second
        if known != second:
            prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second, prefix
        return f"{prefix}.{int(record.msecs):03d}Z"


class _Handler(logging.StreamHandler[IO[str]]):
    """A handler that spends less on each record: one write, which the stream's own lock guards."""

    def handle(self, record: logging.LogRecord) -> bool:
        if self.filters and not self.filter(record):
            return False
        try:
            self.stream.write(f"{self.format(record)}\n")
            if not getattr(self.stream, "line_buffering", False):
                self.stream.flush()
        except Exception:
            self.handleError(record)
        return True


def configure(
    format: str = "text", *, worker: int | None = None, stream: IO[str] | None = None
) -> None:
    """Write what `lenet_serve` logs to a stream, and nowhere else.

    Args:
        format: One of `FORMATS`.
        worker: See `Formatter`.
        stream: Where; None is the standard error.
    """
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(Formatter(format, worker))
    logger = logging.getLogger("lenet_serve")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)


def sample(text: str) -> Fraction:
    """Read the share of requests that is to be logged, as ``1/100``, ``0.01`` or ``1``.

    Raises:
        InputError: It is no number from 0 to 1.
    """
    try:
        share = Fraction(text)
    except (ValueError, ZeroDivisionError):
        share = Fraction(-1)
    if not 0 <= share <= 1:
        raise InputError(f"log sample: expected a number from 0 to 1 such as 1/100, found {text!r}")
    return share


def _quoted(text: str) -> str:
    """Text that others wrote: a bounded part, in quotes, every character printable ASCII."""
    return encode_basestring_ascii(text[:_LONGEST])
