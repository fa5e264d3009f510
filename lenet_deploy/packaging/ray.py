"""`ray`: the configuration of Ray Serve for the artifact."""

from collections.abc import Mapping

from lenet_deploy.packaging.target import Package, Target, filled
from lenet_runtime.formats import FORMATS


def _files(package: Package) -> Mapping[str, bytes]:
    trust = str(FORMATS[package.artifact.manifest.format].runs_code).lower()
    values = {"NAME": package.name, "TRUST": trust}
    return {"serve.yaml": filled("ray/serve.yaml", values)}


TARGET = Target("ray", "the configuration of Ray Serve", _files)
