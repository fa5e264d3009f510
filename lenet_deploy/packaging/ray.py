"""`ray`: the configuration of Ray Serve, and the artifact that it names."""

from collections.abc import Mapping
from pathlib import Path

from lenet_deploy.packaging import service
from lenet_deploy.packaging.target import Package, Target, filled
from lenet_runtime.artifact import trust
from lenet_runtime.errors import InputError
from lenet_runtime.formats import Option

_SHARED = Option(
    "shared", "--shared", "Folder that all nodes of the cluster see. Default: /shared.", "DIR"
)


def _shared(package: Package) -> str:
    return str(package.options.get("shared", "/shared")).rstrip("/")


def _files(package: Package) -> Mapping[str, bytes]:
    least = package.options.get("replicas", 2)
    most = package.options.get("max_replicas", 4 * least)
    if not 2 <= least <= most:
        raise InputError(
            "replicas: expected two at least, as one that dies would leave none, and no more than "
            f"max_replicas, found {least} and {most}"
        )
    values = {
        "MADE_BY": service.made_by(package),
        "NAME": package.name,
        "SHARED": _shared(package),
        "PORT": service.port_of(package),
        "REPLICAS": least,
        "MAX_REPLICAS": most,
        "TRUST": str(bool(trust.reason(package.artifact))).lower(),
    }
    files = package.artifact_files(f"{package.name}/1")
    return {"serve.yaml": filled("ray/serve.yaml", values), **files}


def _steps(package: Package, folder: Path) -> tuple[str, ...]:
    return f"cp -r {folder / package.name} {_shared(package)}/", f"serve deploy {folder}/serve.yaml"


TARGET = Target(
    "ray",
    "the configuration of Ray Serve",
    _files,
    (_SHARED, service.REPLICAS, service.MAX_REPLICAS, service.PORT),
    _steps,
)
