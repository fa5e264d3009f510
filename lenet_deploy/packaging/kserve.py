"""`kserve`: a runtime that speaks KServe's protocols, and a model that uses it."""

from collections.abc import Mapping
from pathlib import Path

from lenet_deploy.packaging import service
from lenet_deploy.packaging.target import Package, Target, filled

_FILES = ("runtime", "service")


def _files(package: Package) -> Mapping[str, bytes]:
    values = service.values(package)
    content = {f"{name}.yaml": filled(f"kserve/{name}.yaml", values) for name in _FILES}
    return content | package.artifact_files(package.name)


def _steps(package: Package, folder: Path) -> tuple[str, ...]:
    return tuple(f"kubectl apply -f {folder / name}.yaml" for name in _FILES)


TARGET = Target(
    "kserve",
    "ServingRuntime (v2, grpc-v2) and InferenceService",
    _files,
    (service.IMAGE, service.REPLICAS, service.MAX_REPLICAS),
    _steps,
)
