"""Whether an artifact was made for this machine, checked before any of its code is loaded."""

import dataclasses
import platform
import sys
from typing import TYPE_CHECKING

from lenet_runtime import cpu, devices
from lenet_runtime.artifact import Manifest, Requirements
from lenet_runtime.errors import BackendUnavailable
from lenet_runtime.formats import FORMATS, TARGETS
from lenet_runtime.parity import TOLERANCES

if TYPE_CHECKING:
    from lenet_runtime.backends import Backend


def this_platform() -> str:
    """The operating system and architecture that compiled code is bound to: ``linux-x86_64``."""
    return f"{sys.platform}-{platform.machine()}"


def unmet(manifest: Manifest, backend: "Backend", device: str) -> list[str]:
    """What this machine lacks for the artifact, one sentence each; empty where it has it all.

    Args:
        manifest: The artifact's manifest.
        backend: The backend that is to run it.
        device: The device that it is to run on.
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
        machine = TARGETS[needs.target].machine if needs.target in TARGETS else needs.target
        whose = f", {machine}" * (needs.target != "host")
        reasons.append(
            f"it was compiled for {needs.platform!r}{whose}, this is {this_platform()!r}"
        )
    if needs.compute_capability and needs.device == "cuda":
        reasons += _foreign_gpu(needs, devices.parse(device))
    lacking = sorted(set(needs.cpu_isa) - cpu.flags())
    if lacking and not cpu.flags():
        reasons.append(
            f"it needs the CPU extensions {lacking}, and /proc/cpuinfo, which lists those of this "
            "CPU, cannot be read: mount /proc"
        )
    elif lacking:
        reasons.append(f"it was compiled for CPU extensions that this CPU lacks: {lacking}")
    return reasons + backend.unmet(manifest)


def fits_gpu(needs: Requirements, compute_capability: str) -> bool:
    """Whether a GPU of this compute capability, ``9.0``, is among those of the artifact."""
    number, built_for = float(compute_capability), needs.compute_capability
    return number in built_for or (needs.later_gpus and number > min(built_for, default=number))


def gpus_of(needs: Requirements) -> str:
    """The compute capabilities of the artifact's GPUs, for an error."""
    return ", ".join(map(str, needs.compute_capability)) + " or later" * needs.later_gpus


def _foreign_gpu(needs: Requirements, device: devices.Device) -> list[str]:
    if device.kind != "cuda":
        return []  # said already
    from lenet_runtime import cuda

    try:
        gpu = cuda.gpu(device.index)
    except BackendUnavailable as error:
        return [str(error)]
    if fits_gpu(needs, gpu.compute_capability):
        return []
    return [
        f"it was built for GPUs of compute capability {gpus_of(needs)!r}, {device} ({gpu.name}) "
        f"has {gpu.compute_capability}"
    ]


def require(manifest: Manifest, backend: "Backend", device: str, where: object) -> None:
    """Raise `BackendUnavailable` with everything that is unmet."""
    reasons = unmet(manifest, backend, device)
    if reasons:
        unknown = manifest.requirements.cpu_isa and not cpu.flags()  # a new export would be, too
        remedy = "" if unknown else _remedy(manifest)
        raise BackendUnavailable(f"{where}: {'; '.join([*reasons, *filter(None, [remedy])])}")


def _remedy(manifest: Manifest) -> str:
    needs = manifest.requirements
    if needs.target == "host" or needs.platform in (None, this_platform()):
        return f"export it again on this machine ({export_command(manifest)})"
    here = dataclasses.replace(manifest, requirements=dataclasses.replace(needs, target="host"))
    return f"load it there, or export one for this machine ({export_command(here)})"


def export_command(manifest: Manifest, compute_capability: str | None = None) -> str:
    """The command that makes this artifact again, where it is given for other GPUs."""
    needs, known = manifest.requirements, FORMATS.get(manifest.format)
    words = [f"lenet-deploy export --format {manifest.format if known else repr(manifest.format)}"]
    if needs.target != "host":
        words.append(f"--target {needs.target}")
    if manifest.precision in TOLERANCES:
        words.append(f"--precision {manifest.precision}")
    if manifest.batch_size is not None:
        words.append(f"--static-batch {manifest.batch_size}")
    elif needs.profile:
        words.append(f"--profile {':'.join(map(str, needs.profile))}")
    if known and known.has("library"):
        words.append(f"--library {needs.engine}")
    if compute_capability:
        words.append(f"--compute-capability {compute_capability}")
    return " ".join([*words, "--force"])
