"""`systemd`: a unit that runs `lenet-deploy serve` on one machine."""

from collections.abc import Mapping

from lenet_deploy.packaging.target import Package, Target, filled


def _files(package: Package) -> Mapping[str, bytes]:
    return {f"{package.name}.service": filled("systemd/lenet.service", {"NAME": package.name})}


TARGET = Target("systemd", "a unit that serves the artifact on one machine", _files)
