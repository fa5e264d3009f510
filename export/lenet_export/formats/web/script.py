"""``lenet.js``, put together from the modules of ``js/``."""

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from lenet_export.formats.web.modules import bundle
from lenet_export.request import Request
from lenet_runtime import __version__

_API = "export { fromRGBA, load, network };\n"
# Whole lines of comments, which stay in our source.
_COMMENT = re.compile(r"^[ \t]*(?:/\*\*(?:[^*]|\*(?!/))*\*/[ \t]*|//.*)?\n", re.MULTILINE)


def script(network: Mapping[str, Any]) -> str:
    """``lenet.js`` of a network that `describe` describes: one ES module."""
    return _COMMENT.sub("", bundle(scripts(network))) + _API


def scripts(network: Mapping[str, Any]) -> dict[str, str]:
    """The ES modules by file name, of a network that `describe` describes."""
    names = sorted(file.name for file in _folder().iterdir() if file.name.endswith(".js"))
    texts = {name: read(name) for name in names}
    own = texts["lenet.js"].replace("VERSION", __version__, 1)
    text = json.dumps(network).replace("<", "\\u003c")  # in a page, no label is a tag
    texts["lenet.js"] = own.replace("(NETWORK)", f"({text})", 1)
    return texts


def describe(
    request: Request, module: bytes, maps: Sequence[Mapping[str, int]] | None
) -> dict[str, Any]:
    """What ``lenet.js`` knows of its network; its types are in ``lenet.d.ts``.

    Args:
        request: what was asked for.
        module: ``lenet.wasm``.
        maps: see `lenet_export.formats.native.wasm.maps`.
    """
    channels, height, width = request.image_shape
    preprocessing = request.preprocessing
    return {
        "precision": request.precision,
        "labels": list(request.labels),
        "channels": channels,
        "height": height,
        "width": width,
        "padding": preprocessing.padding,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "answers": request.output,
        "weights": request.weights_sha256,
        "bytes": len(module),
        "maps": maps,
    }


def read(name: str) -> str:
    """The text of a file of ``js/``."""
    return (_folder() / name).read_text(encoding="utf-8")


def _folder() -> Traversable:
    return files("lenet_export.formats.web") / "js"
