"""``web``: the network for browsers, Node, Deno and Bun: ``lenet.wasm`` and an ES module.

`lenet_export.formats.native.wasm` compiles the C, ``js/lenet.js`` loads the result, and the other
modules of ``js/`` make the network's input of pictures; `modules` puts all of them into one file.
`page` is the page that shows it. docs/web.md explains it.
"""

import dataclasses
import json
import re
from importlib.resources import files
from typing import Any

from lenet_export.formats.native import wasm
from lenet_export.formats.web import page
from lenet_export.formats.web.modules import bundle
from lenet_export.request import Build, Request
from lenet_runtime import __version__
from lenet_runtime.formats import FORMATS

WASM, MODULE, TYPES, PACKAGE, PAGE = FORMATS["web"].files
_API = "export { fromRGBA, load, network };\n"
# Whole lines of comments, which stay in our source.
_COMMENT = re.compile(r"^[ \t]*(?:/\*\*(?:[^*]|\*(?!/))*\*/[ \t]*|//.*)?\n", re.MULTILINE)


def build(request: Request) -> Build:
    """Compile the network to WebAssembly, and write the module, its types and the page.

    The option ``calibration`` is that of ``native``.

    Raises:
        InputError: see `lenet_export.formats.native.build`.
        BackendUnavailable: there is no Clang or no wasm-ld.
        DeployError: one of them failed.
    """
    built = wasm.build(request)
    module = built.files[wasm.MODULE]
    network = describe(request, module)
    modules = scripts(network)
    texts = {
        MODULE: script(request, module),
        TYPES: _read("lenet.d.ts"),
        PACKAGE: json.dumps(_package(request), indent=2) + "\n",
    }
    told = network | {"words": words(request), "shape": request.image_shape}
    content = {name: text.encode() for name, text in texts.items()}
    content |= {WASM: module, PAGE: page.index(modules, module, told)}
    requirements = dataclasses.replace(built.requirements, platform=None, target="host")
    return dataclasses.replace(built, files=content, requirements=requirements, emulator=None)


def require() -> None:
    """Raise `BackendUnavailable` where there is no Clang or no wasm-ld."""
    wasm.require()


def script(request: Request, module: bytes) -> str:
    """``lenet.js`` for this ``lenet.wasm``: one ES module."""
    return _COMMENT.sub("", bundle(scripts(describe(request, module)))) + _API


def scripts(network: dict[str, Any]) -> dict[str, str]:
    """The ES modules by file name, of a network that `describe` describes."""
    folder = files(__name__) / "js"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".js"))
    texts = {name: _read(name) for name in names}
    own = texts["lenet.js"].replace("VERSION", __version__, 1)
    texts["lenet.js"] = own.replace("(NETWORK)", f"({json.dumps(network)})", 1)
    return texts


def describe(request: Request, module: bytes) -> dict[str, Any]:
    """What ``lenet.js`` knows of its network; its types are in ``lenet.d.ts``."""
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
        "maps": wasm.maps(request),
    }


def words(request: Request) -> str:
    """The network, for people who look at the page."""
    channels, height, width = request.image_shape
    kind = "grey" if channels == 1 else "colour"
    return (
        f"{len(request.labels)} classes of {kind} images of {width}×{height} pixels, computed in "
        f"{request.precision} by WebAssembly."
    )


def _package(request: Request) -> dict[str, Any]:
    """What ``npm pack`` reads. Private, since only who made the network may publish it."""
    return {
        "name": f"lenet-{request.precision}",
        "version": __version__,
        "description": f"LeNet in {request.precision}, compiled to WebAssembly by lenet-deploy",
        "private": True,
        "type": "module",
        "exports": {
            ".": {"types": f"./{TYPES}", "default": f"./{MODULE}"},
            f"./{WASM}": f"./{WASM}",
        },
        "types": f"./{TYPES}",
        "files": [MODULE, TYPES, WASM, PAGE],
        "sideEffects": False,
        "engines": {"node": ">=18"},
    }


def _read(name: str) -> str:
    return (files(__name__) / "js" / name).read_text(encoding="utf-8")
