"""gRPC's health service, ``grpc.health.v1``: how the server and each model are."""

import threading
from collections.abc import Callable

from lenet_serve.errors import Code, ServeError
from lenet_serve.protocol.messages import METHODS, SERVICES, message_class, parse
from lenet_serve.service import Service

PREFIX = "/grpc.health.v1.Health/"
_REQUEST = METHODS[f"{PREFIX}Check"].request
_ANSWER = METHODS[f"{PREFIX}Check"].response
_STATUS = message_class("grpc.health.v1.HealthCheckResponse").ServingStatus
_PERIOD_S = 0.5  # how old news may be; a watcher costs a look at a dictionary each time

Send = Callable[[bytes | None], None]


class Health:
    """Tells how a service and its models are.

    Args:
        service: Who is asked about.

    Attributes:
        draining: Whether the server says that it no longer serves.
    """

    def __init__(self, service: Service) -> None:
        self.draining = False
        self._service = service
        self._watchers: dict[Send, tuple[str, int]] = {}  # whom and of what, and the last answer
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def check(self, body: bytes) -> bytes:
        """Answer a serialized ``HealthCheckRequest``: of the server, or of a model by name.

        Raises:
            ServeError: There is no model of that name.
        """
        name = parse(_REQUEST, body).service
        status = self._status(name)
        if status == _STATUS.SERVICE_UNKNOWN:
            raise ServeError(f"service: expected a model, found {name!r}", Code.NOT_FOUND)
        return _ANSWER(status=status).SerializeToString()  # type: ignore[no-any-return]

    def watch(self, body: bytes, send: Send) -> None:
        """Send the answer now, and again whenever it changes; None is sent at the end.

        Args:
            body: A serialized ``HealthCheckRequest``.
            send: Called with each answer, from any thread.

        Raises:
            ServeError: Too many watch.
        """
        name = parse(_REQUEST, body).service
        with self._changed:
            limit = self._service.limits.connections
            if len(self._watchers) >= limit:
                raise ServeError(
                    f"watch: expected at most {limit} (--max-connections), found more",
                    Code.UNAVAILABLE,
                )
            self._watchers[send] = (name, -1)
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="health", daemon=True)
                self._thread.start()
            self._changed.notify()

    def forget(self, send: Send) -> None:
        """End a watch whose client has gone."""
        with self._changed:
            self._watchers.pop(send, None)

    def drain(self) -> None:
        """Say from now on that nothing is served, to watchers at once."""
        with self._changed:
            self.draining = True
            self._changed.notify()

    def close(self) -> None:
        """End all watches."""
        with self._changed:
            watchers, self._watchers = list(self._watchers), {}
        for send in watchers:
            send(None)

    def _status(self, name: str) -> int:
        if name in ("", *SERVICES):
            serving = self._service.ready
        else:
            try:
                self._service.repository.get(name)
                serving = True
            except ServeError as error:
                if error.code is Code.NOT_FOUND:
                    return int(_STATUS.SERVICE_UNKNOWN)
                serving = False
        draining = self.draining or self._service.draining
        return int(_STATUS.SERVING if serving and not draining else _STATUS.NOT_SERVING)

    def _keep(self) -> None:
        while True:
            with self._changed:
                watchers = self._watchers.copy()
                if not watchers:
                    self._thread = None
                    return
            for send, (name, last) in watchers.items():
                status = self._status(name)
                if status != last:
                    send(_ANSWER(status=status).SerializeToString())
                    with self._changed:
                        if send in self._watchers:
                            self._watchers[send] = (name, status)
            with self._changed:
                self._changed.wait(_PERIOD_S)
