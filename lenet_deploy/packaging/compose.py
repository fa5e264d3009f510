"""`compose`: one container on one machine, with the artifact beside it."""

from collections.abc import Mapping
from pathlib import Path

from lenet_deploy.packaging import service
from lenet_deploy.packaging.target import Package, Target, filled


def _files(package: Package) -> Mapping[str, bytes]:
    content = {"compose.yaml": filled("compose/compose.yaml", service.values(package))}
    return content | package.artifact_files(f"models/{service.folder_of(package)}")


def _steps(package: Package, folder: Path) -> tuple[str, ...]:
    return (f"docker compose --project-directory {folder} up --detach --wait",)


TARGET = Target(
    "compose",
    "a container on one machine, with the artifact beside it",
    _files,
    (service.IMAGE, service.PORT),
    _steps,
)
