"""What a client is told went wrong, once for HTTP and gRPC."""

import logging
import time
from enum import Enum

from lenet_runtime.errors import BackendUnavailable, DeployError, DeviceMemoryError, InputError

_log = logging.getLogger(__name__)


class Code(Enum):
    """What went wrong: the status in HTTP, and the name of gRPC's status.

    Attributes:
        http: The status code of HTTP.
        grpc: The name of gRPC's status, a member of ``grpc.StatusCode``.
    """

    MALFORMED = 400, "INVALID_ARGUMENT"
    UNAUTHENTICATED = 401, "UNAUTHENTICATED"
    NOT_FOUND = 404, "NOT_FOUND"
    METHOD_NOT_ALLOWED = 405, "UNIMPLEMENTED"
    TOO_SLOW = 408, "DEADLINE_EXCEEDED"
    LENGTH_REQUIRED = 411, "INVALID_ARGUMENT"
    TOO_LARGE = 413, "RESOURCE_EXHAUSTED"
    UNSUPPORTED_TYPE = 415, "INVALID_ARGUMENT"
    HEADERS_TOO_LARGE = 431, "RESOURCE_EXHAUSTED"
    CANCELLED = 499, "CANCELLED"  # nobody is there to read it; nginx's number, for logs
    INTERNAL = 500, "INTERNAL"
    UNIMPLEMENTED = 501, "UNIMPLEMENTED"
    UNAVAILABLE = 503, "UNAVAILABLE"
    DEADLINE = 504, "DEADLINE_EXCEEDED"

    def __init__(self, http: int, grpc: str) -> None:
        self.http, self.grpc = http, grpc


class ServeError(DeployError):
    """A request that is not answered.

    Args:
        message: What is wrong: where, what was expected and what was found. Never the body.
        code: What kind of fault it is.
        retry_after: Seconds after which the client may try again; None says nothing of it.
        allow: For `Code.METHOD_NOT_ALLOWED`, the methods that are allowed.

    Attributes:
        code, retry_after, allow: As given.
    """

    def __init__(
        self,
        message: object,
        code: Code = Code.MALFORMED,
        *,
        retry_after: int | None = None,
        allow: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.code, self.retry_after, self.allow = code, retry_after, allow


def translated(error: BaseException) -> ServeError:
    """What a client is told of an error: its own fault with all details, ours without any.

    Ours is logged here.
    """
    if isinstance(error, ServeError):
        return error
    if isinstance(error, InputError):
        return ServeError(error)
    if isinstance(error, DeviceMemoryError):
        return ServeError(
            "the GPU has too little memory for this batch now; send fewer images",
            Code.UNAVAILABLE,
            retry_after=1,
        )
    if isinstance(error, BackendUnavailable):  # a library that reads pictures is not installed
        return ServeError(error, Code.UNIMPLEMENTED)
    _log.error("a request failed", exc_info=error)
    return ServeError("the server failed to answer; its log says why", Code.INTERNAL)


def require_time(deadline: float | None) -> None:
    """Raise `ServeError` where a deadline of `time.monotonic` has passed."""
    if deadline is not None and time.monotonic() >= deadline:
        raise ServeError("deadline: it passed before the request's turn came", Code.DEADLINE)
