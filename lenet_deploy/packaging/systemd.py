"""`systemd`: a unit that serves an artifact on one machine, with no rights beyond that."""

from collections.abc import Mapping
from pathlib import Path

from lenet_deploy.packaging import service
from lenet_deploy.packaging.target import Package, Target, filled
from lenet_runtime.errors import InputError
from lenet_runtime.version import __version__


def _files(package: Package) -> Mapping[str, bytes]:
    if (port := service.port_of(package)) < 1024:
        raise InputError(
            f"port: expected 1024 or more, found {port}: the unit's user may bind to no other; put "
            "a proxy before it"
        )
    values = service.values(package) | {"VERSION": __version__}
    unit = filled("systemd/lenet.service", values)
    return {f"{package.name}.service": unit} | package.artifact_files(service.folder_of(package))


def _steps(package: Package, folder: Path) -> tuple[str, ...]:
    return (
        f"mkdir -p /srv/{package.name} && cp -r {folder / service.folder_of(package)} "
        f"/srv/{package.name}/",
        f"cp {folder}/{package.name}.service /etc/systemd/system/",
        f"systemctl daemon-reload && systemctl enable --now {package.name}",
    )


TARGET = Target(
    "systemd",
    "a sandboxed unit for one machine",
    _files,
    (service.PORT,),
    _steps,
)
