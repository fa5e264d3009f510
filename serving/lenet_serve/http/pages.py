"""The pages for people: ``/``, where a digit is drawn, and ``/docs``; each is one document."""

from collections.abc import Iterable
from functools import cache
from html import escape
from importlib.resources import files

from lenet_runtime.page import document, draw_page, read
from lenet_runtime.version import __version__
from lenet_serve.http.context import Context
from lenet_serve.http.messages import Reply, Request
from lenet_serve.http.routing import Route

_ALLOWED = {"connect-src": "'self'", "frame-ancestors": "'none'"}
_FOOTER = (
    '<a href="docs">How to ask by program</a> <a href="openapi.json">OpenAPI</a> '
    '<a href="metrics">Metrics</a>'
)
_HTML = (b"content-type", b"text/html; charset=utf-8")
_COMMON = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-cache")]


def page(_: Context, __: Request) -> Reply:
    """Answer the page on which a digit is drawn."""
    return _reply(*_page())


def icon(_: Context, __: Request) -> Reply:
    """Answer the icon of the pages."""
    return Reply(200, [(b"content-type", b"image/svg+xml"), *_COMMON], read("icon.svg").encode())


def docs(context: Context, routes: Iterable[Route]) -> Reply:
    """Answer the page that tells how to ask, with the table of routes."""
    text, policy = _docs()
    names = [state.name for state in context.service.repository.index() if state.state == "READY"]
    model, output = "lenet", "logits"
    if names:
        model = names[0]
        output = context.service.repository.get(model).session.manifest.output
    rows = "".join(_row(route) for route in routes)
    for name, value in (
        ("version", __version__), ("model", escape(model)), ("output", escape(output)),
        ("rows", rows),
    ):  # fmt: skip
        text = text.replace(f"{{{{{name}}}}}", value)
    return _reply(text, policy)


def _row(route: Route) -> str:
    path = escape(route.path).replace("/", "/<wbr>")  # where a narrow screen may break it
    cells = f"<code>{path}</code>", ", ".join(route.methods), escape(route.summary)
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _reply(text: str, policy: str) -> Reply:
    headers = [_HTML, (b"content-security-policy", policy.encode()), *_COMMON]
    return Reply(200, [*headers, (b"referrer-policy", b"no-referrer")], text.encode())


@cache
def _page() -> tuple[str, str]:
    script = _file("live.js") + _file("server.js")
    return draw_page(script, more=_file("live.html"), footer=_FOOTER, allowed=_ALLOWED)


@cache
def _docs() -> tuple[str, str]:
    style = read("page.css") + _file("docs.css")
    return document(_file("docs.html"), style, _file("docs.js"), _ALLOWED)


def _file(name: str) -> str:
    return files("lenet_serve.http").joinpath("page", name).read_text(encoding="utf-8")
