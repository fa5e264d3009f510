"""Whether an artifact was made for this machine, checked before any of its code is loaded."""

import platform
import sys

from lenet_runtime import cpu
from lenet_runtime.artifact import Manifest
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import BackendUnavailable
from lenet_runtime.parity import TOLERANCES


def this_platform() -> str:
    """The operating system and architecture that compiled code is bound to: ``linux-x86_64``."""
    return f"{sys.platform}-{platform.machine()}"


def unmet(manifest: Manifest) -> list[str]:
    """What this machine lacks for the artifact, one sentence each; empty where it has it all."""
    needs, reasons = manifest.requirements, []
    if manifest.precision not in TOLERANCES:
        reasons.append(
            f"expected a precision of {sorted(TOLERANCES)}, found {manifest.precision!r}"
        )
    if needs.device not in ("any", "cpu"):
        reasons.append(f"it was made for the device {needs.device!r}, this version runs on 'cpu'")
    if needs.platform not in (None, this_platform()):
        reasons.append(f"it was compiled for {needs.platform!r}, this is {this_platform()!r}")
    lacking = sorted(set(needs.cpu_isa) - cpu.flags())
    if lacking:
        reasons.append(f"it was compiled for CPU extensions that this CPU lacks: {lacking}")
    return reasons + _foreign_release(manifest)


def _foreign_release(manifest: Manifest) -> list[str]:
    """Compiled code calls into libtorch, whose interface may change with every release."""
    if manifest.format != "torch-compile":
        return []
    built, here = manifest.requirements.engine_version, BACKENDS["torch-compile"].version()
    if here is None or built.split(".")[:2] == here.split(".")[:2]:
        return []  # a missing PyTorch is the backend's to report
    return [f"it was compiled with PyTorch {built!r}, this is {here!r}"]


def require(manifest: Manifest, where: object) -> None:
    """Raise `BackendUnavailable` with everything that is unmet."""
    reasons = unmet(manifest)
    if reasons:
        raise BackendUnavailable(
            f"{where}: {'; '.join(reasons)}; export it again on this machine "
            f"(lenet-deploy export --format {manifest.format!r})"
        )
