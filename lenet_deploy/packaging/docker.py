"""`docker`: the smallest image that runs, with the artifact in it."""

import sys
from collections.abc import Mapping
from pathlib import Path

from lenet_deploy.packaging import service
from lenet_deploy.packaging.target import Package, Target, filled
from lenet_runtime.errors import InputError
from lenet_runtime.formats import Option
from lenet_runtime.version import __version__

WHEEL = Option(
    "wheel", "--wheel", "The wheel of lenet-deploy, which is copied into the package, since no "
    "index has it; make wheel builds it.", "FILE", Path,
)  # fmt: skip
WHEEL_NAME = f"lenet_deploy-{__version__}-py3-none-any.whl"


def _files(package: Package) -> Mapping[str, bytes]:
    values = service.values(package) | {
        "WHEEL": WHEEL_NAME,
        "PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    content = {
        name: filled(f"docker/{name}", values)
        for name in ("Dockerfile", ".dockerignore", "assemble.py")
    }
    content["constraints.txt"] = service.constraints(service.extras(package).split(","))
    wheel = package.options.get("wheel")
    if wheel is None or wheel.name != WHEEL_NAME:
        found = f"found {wheel.name!r}" if wheel else "which no index has; make wheel builds it"
        raise InputError(f'wheel: expected {WHEEL_NAME}, {found}; pass wheel="dist/{WHEEL_NAME}"')
    content[WHEEL_NAME] = wheel.read_bytes()
    return content | package.artifact_files("artifact")


def _steps(package: Package, folder: Path) -> tuple[str, ...]:
    system = f"linux/{service.architecture(package)}"
    return (f"docker build --platform {system} --tag {service.image(package)} {folder}",)


TARGET = Target(
    "docker",
    "a Dockerfile of a small image without shell or root",
    _files,
    (service.IMAGE, WHEEL),
    _steps,
)
