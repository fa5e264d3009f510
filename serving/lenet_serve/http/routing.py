"""`Route` and `Table`: who answers a path."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from urllib.parse import unquote_to_bytes

from lenet_serve.errors import Code, ServeError
from lenet_serve.http.context import Context
from lenet_serve.http.messages import Pending, Reply, Request

Handler = Callable[[Context, Request], Reply | Pending]
_CACHED = 256  # characters of a path that is worth remembering


@dataclass(frozen=True)
class Route:
    """What answers a path.

    Attributes:
        path: The path, in which ``{model}`` and ``{version}`` stand for one segment each.
        methods: The methods that are allowed; HEAD goes with GET.
        handler: What answers.
        summary: What it does, for the OpenAPI document.
        needs_body: Whether a request without a body cannot be meant.
        is_public: Whether it is answered without the token, for probes.
    """

    path: str
    methods: tuple[str, ...]
    handler: Handler
    summary: str
    needs_body: bool = False
    is_public: bool = False

    @cached_property
    def allowed(self) -> tuple[str, ...]:
        """The methods, HEAD among them."""
        return (*self.methods, "HEAD") if "GET" in self.methods else self.methods


class Table:
    """Finds routes by path.

    Args:
        routes: The routes.
    """

    def __init__(self, routes: list[Route]) -> None:
        self.routes = routes
        self._by_shape = {self._shape(route.path): route for route in routes}
        self._cached = lru_cache(128)(self._find)

    @staticmethod
    def _shape(path: str) -> tuple[str, ...]:
        return tuple("{}" if part.startswith("{") else part for part in path.split("/"))

    def find(self, path: bytes) -> tuple[Route, str, str]:
        """The route of a path as it was sent, and the model and version in it.

        Raises:
            ServeError: There is none.
        """
        return self._cached(path) if len(path) <= _CACHED else self._find(path)

    def _find(self, path: bytes) -> tuple[Route, str, str]:
        parts = [unquote_to_bytes(part).decode(errors="replace") for part in path.split(b"/")]
        for shape in _shapes(parts):
            if route := self._by_shape.get(shape):
                names = [part for part, form in zip(parts, shape, strict=True) if form == "{}"]
                if all(names):
                    return route, *(*names, "", "")[:2]  # type: ignore[return-value]
        raise ServeError(
            "path: expected one that /openapi.json lists, found another", Code.NOT_FOUND
        )


def _shapes(parts: list[str]) -> Iterator[tuple[str, ...]]:
    """What a path may be with its names left out: none, a model's, a version's."""
    for places in ((), (3,), (3, 5), (4,)):
        if not places or len(parts) > places[-1]:
            yield tuple("{}" if i in places else part for i, part in enumerate(parts))
