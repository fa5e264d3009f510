"""``index.html`` of a web artifact: the page of `lenet_runtime.page`, with its network inside."""

import base64
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from lenet_export.formats.web.modules import bundle
from lenet_runtime.page import draw_page


def index(modules: Mapping[str, str], wasm: bytes, network: Mapping[str, Any]) -> bytes:
    """Make the page: one file that works from any place, also offline and from ``file://``.

    Args:
        modules: The texts of ``lenet.js`` and of all that is imported, by file name.
        wasm: The WebAssembly module.
        network: What the page is told of the network: its ``labels``; ``words`` that describe it;
            ``shape``, the (C, H, W) of its images; and ``mean``, ``std`` and ``padding``.
    """
    html, policy = draw_page(
        bundle(modules) + _file("wasm.js"),
        more=_file("maps.html"),
        footer=_file("footer.html"),
        data={"network": dict(network), "wasm": base64.b64encode(wasm).decode()},
        allowed={"script-src": "'wasm-unsafe-eval'"},
    )
    meta = f'<meta http-equiv="content-security-policy" content="{policy}">'
    return html.replace("<!--policy-->", meta).encode()


def _file(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
