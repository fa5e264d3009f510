"""Packages: an artifact with the files that a platform wants around it.

`TARGETS` is a plain table: a platform touches its own file, its templates in `files/`, and its row.
"""

from lenet_deploy.packaging import (
    compose,
    docker,
    kserve,
    kubernetes,
    monitoring,
    ray,
    systemd,
    triton,
)
from lenet_deploy.packaging.target import Package, Target, write
from lenet_runtime.formats import Option

__all__ = ["TARGETS", "Package", "Target", "options", "write"]

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        docker.TARGET,
        compose.TARGET,
        kubernetes.TARGET,
        kserve.TARGET,
        systemd.TARGET,
        triton.TARGET,
        ray.TARGET,
        monitoring.TARGET,
    )
}


def options() -> dict[Option, list[str]]:
    """Every option, with the names of the targets that have it."""
    every = dict.fromkeys(own for target in TARGETS.values() for own in target.options)
    return {own: [t.name for t in TARGETS.values() if own in t.options] for own in every}
