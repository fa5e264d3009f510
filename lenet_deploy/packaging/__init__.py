"""Packages: an artifact with the files that a platform wants around it.

`TARGETS` is a plain table: a platform touches its own file, its templates in `files/`, and its row.
"""

from lenet_deploy.packaging import systemd, triton
from lenet_deploy.packaging.target import Package, Target, write

__all__ = ["TARGETS", "Package", "Target", "write"]

TARGETS: dict[str, Target] = {target.name: target for target in (systemd.TARGET, triton.TARGET)}
