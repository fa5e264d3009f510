"""What the build systems of microcontrollers ask for beside ``lenet.c`` and ``lenet.h``."""

import re

from lenet_export.formats.native import assembly
from lenet_export.request import Request
from lenet_runtime import __version__

# ESP-IDF, PlatformIO, Arduino and Zephyr; plain CMake takes the first, too.
FILES = (
    "CMakeLists.txt",
    "idf_component.yml",
    "library.json",
    "library.properties",
    "zephyr/module.yml",
)


def generate(request: Request) -> dict[str, str]:
    """The packages' files by name; the option ``prefix`` names the package."""
    version = re.match(r"\d+\.\d+\.\d+", __version__)
    assert version is not None
    words = {
        "NAME": request.options.get("prefix", assembly.PREFIX),
        "VERSION": version[0],
        "WEIGHTS": request.weights_sha256,
        "DESCRIPTION": f"LeNet in C, {request.precision}, compiled by lenet-deploy",
    }
    return {name: assembly.text(f"cortex/package/{name}", words) for name in FILES}
