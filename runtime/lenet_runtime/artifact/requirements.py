"""Whether an artifact was made for this machine, checked before any of its code is loaded."""

import platform
import re
import sys

from lenet_runtime import cpu, devices
from lenet_runtime.artifact import Manifest
from lenet_runtime.backends import BACKENDS
from lenet_runtime.backends.tensorrt.core import rebuild_command
from lenet_runtime.errors import BackendUnavailable
from lenet_runtime.parity import TOLERANCES

_CAPABILITY = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(\+?)")


def this_platform() -> str:
    """The operating system and architecture that compiled code is bound to: ``linux-x86_64``."""
    return f"{sys.platform}-{platform.machine()}"


def unmet(manifest: Manifest, device: str) -> list[str]:
    """What this machine lacks for the artifact, one sentence each; empty where it has it all.

    Args:
        manifest: of the artifact.
        device: that it is to run on.
    """
    needs, reasons = manifest.requirements, []
    if manifest.precision not in TOLERANCES:
        reasons.append(
            f"expected a precision of {sorted(TOLERANCES)}, found {manifest.precision!r}"
        )
    if needs.device not in ("any", devices.parse(device).kind):
        reasons.append(
            f"it was made for the device {needs.device!r} and is asked to run on {device!r}"
        )
    if needs.platform not in (None, this_platform()):
        reasons.append(f"it was compiled for {needs.platform!r}, this is {this_platform()!r}")
    if needs.compute_capability is not None and needs.device == "cuda":
        reasons += _foreign_gpu(needs.compute_capability, device)
    lacking = sorted(set(needs.cpu_isa) - cpu.flags())
    if lacking:
        reasons.append(f"it was compiled for CPU extensions that this CPU lacks: {lacking}")
    return reasons + _foreign_release(manifest)


def fits_gpu(capabilities: str, found: str) -> bool:
    """Whether a GPU of compute capability `found` is among those of `Requirements`.

    What is no capability, as in a foreign manifest, is that of no GPU.
    """
    major, _, minor = found.partition(".")
    number = int(major), int(minor)
    for text in capabilities.split(","):
        wanted = _CAPABILITY.fullmatch(text.strip())
        if wanted is None:
            continue
        least = int(wanted[1]), int(wanted[2])
        if number == least or (wanted[3] and number > least):
            return True
    return False


def _foreign_gpu(capabilities: str, device: str) -> list[str]:
    wanted = devices.parse(device)
    if wanted.kind != "cuda":
        return []  # said already
    from lenet_runtime import cuda

    try:
        found = cuda.gpu(wanted.index)
    except BackendUnavailable as error:
        return [str(error)]
    if fits_gpu(capabilities, found.compute_capability):
        return []
    return [
        f"it was built for GPUs of compute capability {capabilities!r}, {wanted} "
        f"({found.name}) has {found.compute_capability}"
    ]


def _foreign_release(manifest: Manifest) -> list[str]:
    """Compiled code calls into libtorch, whose interface may change with every release."""
    if manifest.format != "torch-compile":
        return []
    built, here = manifest.requirements.engine_version, BACKENDS["torch-compile"].version()
    if here is None or built.split(".")[:2] == here.split(".")[:2]:
        return []  # a missing PyTorch is the backend's to report
    return [f"it was compiled with PyTorch {built!r}, this is {here!r}"]


def require(manifest: Manifest, device: str, where: object) -> None:
    """Raise `BackendUnavailable` with everything that is unmet."""
    reasons = unmet(manifest, device)
    if reasons:
        command = f"lenet-deploy export --format {manifest.format!r}"
        if manifest.format == "tensorrt":
            command = rebuild_command(manifest)
        raise BackendUnavailable(
            f"{where}: {'; '.join(reasons)}; export it again on this machine ({command})"
        )
