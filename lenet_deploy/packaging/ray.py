"""`ray`: the configuration of Ray Serve, and the artifact that it names."""

from collections.abc import Mapping
from pathlib import Path

from lenet_deploy.packaging.target import Package, Target, filled
from lenet_runtime.formats import FORMATS, Option

_SHARED = Option(
    "shared", "--shared", "Folder that all nodes of the cluster see.", "DIR",
)  # fmt: skip


def _shared(package: Package) -> str:
    return str(package.options.get("shared", "/shared")).rstrip("/")


def _files(package: Package) -> Mapping[str, bytes]:
    trust = str(FORMATS[package.artifact.manifest.format].runs_code).lower()
    values = {"NAME": package.name, "SHARED": _shared(package), "TRUST": trust}
    files = package.artifact_files(f"{package.name}/1")
    return {"serve.yaml": filled("ray/serve.yaml", values), **files}


def _steps(package: Package, folder: Path) -> tuple[str, ...]:
    return f"cp -r {folder / package.name} {_shared(package)}/", f"serve deploy {folder}/serve.yaml"


TARGET = Target("ray", "the configuration of Ray Serve", _files, (_SHARED,), _steps)
