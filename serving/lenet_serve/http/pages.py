"""The pages for people: ``/``, where a digit is drawn, and ``/docs``; each is one document."""

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from html import escape
from importlib.resources import files

from lenet_runtime.version import __version__
from lenet_serve.http.context import Context
from lenet_serve.http.messages import Reply, Request
from lenet_serve.http.routing import Route

_SCRIPTS = ("draw.js", "answer.js", "live.js", "begin.js")
_HTML = (b"content-type", b"text/html; charset=utf-8")
_COMMON = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-cache")]


def page(_: Context, __: Request) -> Reply:
    """Answer the page on which a digit is drawn."""
    return _reply(*_page())


def icon(_: Context, __: Request) -> Reply:
    """Answer the icon of the pages."""
    return Reply(200, [(b"content-type", b"image/svg+xml"), *_COMMON], _file("icon.svg").encode())


def docs(context: Context, routes: Iterable[Route]) -> Reply:
    """Answer the page that tells how to ask, with the table of routes."""
    text, policy = _document("docs.html", ("page.css", "docs.css"), ("docs.js",))
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
    return _document("page.html", ("page.css",), _SCRIPTS)


@cache
def _document(name: str, styles: tuple[str, ...], scripts: tuple[str, ...]) -> tuple[str, str]:
    """A document with its style and script inside, and the policy that allows these two alone."""
    style, script = ("".join(_file(part) for part in parts) for parts in (styles, scripts))
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    text = _file(name).replace("/*style*/", style).replace("/*script*/", script)
    return text, policy


def _file(name: str) -> str:
    return files("lenet_serve.http").joinpath("page", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
