"""``web``: the network for browsers, Node, Deno and Bun: ``lenet.wasm`` and an ES module.

`lenet_export.formats.native.wasm` compiles the C, ``js/lenet.js`` loads the result, and the other
modules of ``js/`` make the network's input of pictures; `modules` puts all of them into one file.
`page` is the page that shows it. docs/web.md explains it.
"""

import dataclasses
import json
from typing import Any

from lenet_export.formats.native import wasm
from lenet_export.formats.web import page
from lenet_export.formats.web.script import describe, read, script, scripts
from lenet_export.request import Build, Request
from lenet_runtime import __version__
from lenet_runtime.formats import FORMATS

WASM, MODULE, TYPES, PACKAGE, PAGE = FORMATS["web"].files


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
    network = describe(request, module, wasm.maps(request))
    texts = {
        MODULE: script(network),
        TYPES: read("lenet.d.ts"),
        PACKAGE: json.dumps(_package(request), indent=2) + "\n",
    }
    told = network | {"words": words(request), "shape": request.image_shape}
    content = {name: text.encode() for name, text in texts.items()}
    content |= {WASM: module, PAGE: page.index(scripts(network), module, told)}
    requirements = dataclasses.replace(built.requirements, platform=None, target="host")
    return dataclasses.replace(built, files=content, requirements=requirements, emulator=None)


def require() -> None:
    """Raise `BackendUnavailable` where there is no Clang or no wasm-ld."""
    wasm.require()


def words(request: Request) -> str:
    """The network, for people who look at the page."""
    channels, height, width = request.image_shape
    kind = "grey" if channels == 1 else "colour"
    return (
        f"{len(request.labels)} classes of {kind} images of {width}x{height} pixels, computed in "
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
