"""The plan: which verified artifact answers fastest here, at each batch size.

`lenet-deploy tune FOLDER` measures every artifact in a folder on every backend that runs here and
writes ``plan.json`` beside them. ``lenet_runtime.load_plan(FOLDER)`` then sends each call to the
engine that won at the nearest measured batch size. A plan is bound to the machine, and to the GPU,
that it was measured on; anywhere else it is not followed, and that is said.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from lenet_runtime import cpu, devices
from lenet_runtime.artifact import MANIFEST_NAME, decode, files
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import ArtifactError
from lenet_runtime.formats import MAX_BATCH_SIZE

PLAN_NAME = "plan.json"
SCHEMA_VERSION = 2
MAX_PLAN_BYTES = 2**20


@dataclass(frozen=True)
class Entry:
    """The winner at one batch size.

    Attributes:
        batch_size: the batch size that was measured.
        artifact: the name of the artifact's folder, beside the plan.
        digest: the artifact's digest, see `lenet_runtime.artifact.Artifact`.
        backend: a key of `lenet_runtime.BACKENDS`.
        chunk: images in a chunk that the batch was cut into, see `lenet_runtime.plans.chunks`; None
            where it was not cut.
        p50_us: median microseconds of a call.
    """

    batch_size: int
    artifact: str
    digest: str
    backend: str
    chunk: int | None
    p50_us: float


@dataclass(frozen=True)
class Plan:
    """Winners by batch size, ascending, for one machine and number of threads.

    Attributes:
        schema_version: the version of this layout.
        machine: CPU, level, cores, engine versions and GPU of the measurement, see `machine`.
        threads: CPU threads of every engine; None is each engine's default.
        entries: one per batch size.
    """

    schema_version: int
    machine: dict[str, str]
    threads: int | None
    entries: tuple[Entry, ...]


def machine(device: str = "cpu") -> dict[str, str]:
    """What a plan is bound to: CPU, level, usable cores, engine versions, and the GPU it is for.

    Raises:
        BackendUnavailable: there is no such GPU.
    """
    cores = str(cpu.usable_cores())
    versions = {name: backend.version() or "not installed" for name, backend in BACKENDS.items()}
    facts = {"cpu": cpu.model(), "cpu_level": cpu.level(), "cores": cores} | versions
    wanted = devices.parse(device)
    if wanted.kind == "cuda":
        from lenet_runtime import cuda

        gpu = cuda.gpu(wanted.index)
        facts |= {
            "gpu": gpu.name,
            "gpu_compute_capability": gpu.compute_capability,
            "gpu_driver_cuda": gpu.driver,
            "gpu_multiprocessors": str(gpu.multiprocessors),  # fewer on a slice of a GPU
        }
    return facts


def misfits(plan: Plan, device: str, threads: int | None) -> list[str]:
    """In what the plan is not for this machine, device and number of threads (None takes any).

    Raises:
        BackendUnavailable: there is no such GPU.
    """
    here = machine(device)
    reasons = [
        f"{key}: {plan.machine.get(key)!r} in the plan, {here.get(key)!r} here"
        for key in sorted(set(here) | set(plan.machine))
        if here.get(key) != plan.machine.get(key)
    ]
    if threads not in (None, plan.threads):
        reasons.append(f"threads: {plan.threads} in the plan, {threads} asked for")
    return reasons


def write(folder: Path, plan: Plan) -> Path:
    """Write ``plan.json`` into `folder`, whole or not at all; returns its path.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    target = folder / PLAN_NAME
    document = json.dumps(dataclasses.asdict(plan), indent=2)
    files.write_atomically(target, f"{document}\n".encode())
    return target


def read(folder: Path) -> Plan:
    """Read ``plan.json`` of `folder`.

    Raises:
        ArtifactError: it is missing or is not a plan.
    """
    with files.opened_directory(folder) as directory:
        data = files.read_regular(directory, PLAN_NAME, MAX_PLAN_BYTES, folder)
    try:
        plan = decode.decode(Plan, decode.parse(data), "plan")
        if plan.schema_version != SCHEMA_VERSION or not plan.entries:
            raise ValueError(f"expected schema_version {SCHEMA_VERSION} and entries")
        if any(e.chunk is not None and e.chunk < 1 for e in plan.entries):
            raise ValueError("expected chunks of 1 image or more")
        # Every load tests the engine at each of them.
        if not all(1 <= e.batch_size <= MAX_BATCH_SIZE for e in plan.entries):
            raise ValueError(f"expected batch sizes of 1 to {MAX_BATCH_SIZE} images")
        if [e.batch_size for e in plan.entries] != sorted({e.batch_size for e in plan.entries}):
            raise ValueError("expected entries by ascending batch size, each once")
        for entry in plan.entries:
            files.check_name(entry.artifact)
    except ValueError as error:
        raise ArtifactError(
            f"{folder / PLAN_NAME}: not a plan ({error}); make one with lenet-deploy tune {folder}"
        ) from error
    return plan


def artifacts_in(folder: Path) -> list[Path]:
    """The artifacts directly inside `folder`, by name."""
    try:
        return sorted(child for child in folder.iterdir() if (child / MANIFEST_NAME).is_file())
    except OSError as error:
        raise ArtifactError(
            f"{folder}: expected a folder of artifacts ({error.strerror})"
        ) from error
