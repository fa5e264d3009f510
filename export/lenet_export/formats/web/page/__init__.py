"""``index.html`` of a web artifact: the page of `lenet_runtime.page`, with its network inside."""

import base64
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from lenet_runtime.page import draw_page

_IMPORT = re.compile(r"^import [^;]*?;\n", re.M)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const|let) (\w+))", re.M)


def index(modules: Iterable[str], wasm: bytes, network: Mapping[str, Any]) -> bytes:
    """Make the page: one file that works from any place, also offline and from ``file://``.

    Args:
        modules: The texts of ``lenet.js`` and of what it imports, which comes before it.
        wasm: The WebAssembly module.
        network: What the page says of the network: ``labels``, ``words``.
    """
    script = "".join((*map(_inlined, modules), _file("wasm.js")))
    html, policy = draw_page(
        script,
        more=_file("maps.html"),
        footer=_file("footer.html"),
        data={"network": dict(network), "wasm": base64.b64encode(wasm).decode()},
        allowed={"script-src": "'wasm-unsafe-eval'"},
    )
    meta = f'<meta http-equiv="content-security-policy" content="{policy}">'
    return html.replace("<!--policy-->", meta).encode()


def _inlined(module: str) -> str:
    """A module as a statement that declares what it exports; imports are there already."""
    names = ", ".join(_EXPORT.findall(module))
    body = _EXPORT.sub("", _IMPORT.sub("", module))
    return f"const {{ {names} }} = (() => {{\n{body}\nreturn {{ {names} }};\n}})();\n"


def _file(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
