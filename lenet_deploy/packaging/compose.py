"""`compose`: one container on one machine, with the artifact beside it."""

from collections.abc import Mapping
from pathlib import Path

from lenet_deploy.packaging import service
from lenet_deploy.packaging.target import Package, Target, filled


def _files(package: Package) -> Mapping[str, bytes]:
    content = {"compose.yaml": filled("compose/compose.yaml", service.values(package))}
    return content | package.artifact_files("models/artifact")


def _steps(package: Package, folder: Path) -> tuple[str, ...]:
    return (f"docker compose --project-directory {folder} up --detach --wait",)


TARGET = Target(
    "compose",
    "a compose.yaml that serves the artifact on one machine, and reloads it",
    _files,
    (service.IMAGE, service.PORT),
    _steps,
)
