"""The page on which a digit is drawn: a server answers it, or the network inside the page itself.

`page.html`, `page.css` and the scripts are what both have. Who shows the page adds a script that
declares ``source``, the network that answers; ``answer.js`` says what it must have.
"""

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from lenet_runtime.images.digits import load_digits

_BEFORE, _AFTER = ("draw.js", "strokes.js", "pictures.js", "answer.js"), ("begin.js",)


def draw_page(
    source: str, *, more: str = "", footer: str = "", data: Mapping[str, Any] | None = None,
    allowed: Mapping[str, str] | None = None,
) -> tuple[str, str]:  # fmt: skip
    """Make the page, one document that loads nothing from elsewhere.

    Args:
        source: The script that declares ``source``.
        more: HTML of further sections.
        footer: HTML of the footer.
        data: What the script reads in ``data``, beside the bundled digits.
        allowed: What the policy allows beyond the scripts and the style: values by directive.

    Returns:
        The document, whose place for a policy is still empty, and its Content-Security-Policy.
    """
    script = "".join((*map(read, _BEFORE), source, *map(read, _AFTER)))
    html = read("page.html").replace("<!--more-->", more).replace("<!--footer-->", footer)
    html = html.replace("/*icon*/", _uri("image/svg+xml", read("icon.svg").encode()))
    text = json.dumps({**_digits(), **(data or {})}, separators=(",", ":"))
    # Neither a tag nor one of the places below, whatever a label is.
    text = text.replace("<", "\\u003c").replace("*/", "*\\/")
    return document(html.replace("/*data*/", text), read("page.css"), script, allowed)


def document(
    html: str, style: str, script: str, allowed: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """Put a style and a script into HTML, and say the policy that allows these two alone.

    Args:
        html: The document, with ``/*style*/`` and ``/*script*/`` where the two belong.
        style: CSS.
        script: JavaScript.
        allowed: What the policy allows beyond these two: values by directive.
    """
    script = script.replace("</script", "<\\/script")
    directives = {
        "default-src": "'none'", "script-src": _digest(script), "style-src": _digest(style),
        "img-src": "'self' data:", "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip
    for name, value in (allowed or {}).items():
        directives[name] = f"{directives.get(name, '')} {value}".strip()
    policy = "; ".join(f"{name} {value}" for name, value in directives.items())
    return html.replace("/*style*/", style).replace("/*script*/", script), policy


def read(name: str) -> str:
    """The text of a file of this page."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


@cache
def _digits() -> dict[str, Any]:
    """The bundled digits: one under the other in a PNG, and their labels."""
    digits = load_digits()
    count, height, width = digits.images.shape
    rows = digits.images.reshape(-1, width)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)  # each without a filter
    head = struct.pack(">IIBBBBB", width, count * height, 8, 0, 0, 0, 0)  # 8 bits of grey
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )  # fmt: skip
    return {"digits": {"png": _uri("image/png", png), "labels": digits.labels.tolist()}}


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
