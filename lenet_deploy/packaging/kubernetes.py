"""`kubernetes`: plain manifests of what serves, scales, and is reached by whom."""

from collections.abc import Mapping
from pathlib import Path

from lenet_deploy.packaging import service
from lenet_deploy.packaging.target import Package, Target, filled

_FILES = ("deployment", "service", "autoscaler", "disruption", "network")


def _files(package: Package) -> Mapping[str, bytes]:
    values = service.values(package)
    return {f"{name}.yaml": filled(f"kubernetes/{name}.yaml", values) for name in _FILES}


def _steps(package: Package, folder: Path) -> tuple[str, ...]:
    return (
        f"kubectl apply --server-side -f {folder}",
        f"kubectl rollout status deployment/{package.name}",
    )


TARGET = Target(
    "kubernetes",
    "manifests of what serves, scales, and is reached",
    _files,
    (service.IMAGE, service.REPLICAS, service.MAX_REPLICAS, service.PORT),
    _steps,
)
