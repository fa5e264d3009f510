"""What a client is told went wrong, once for HTTP and gRPC."""

from enum import Enum

from lenet_runtime.errors import DeployError


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
