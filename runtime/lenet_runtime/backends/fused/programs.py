"""What a ``cuda`` artifact holds: which file is for which GPU, and which kernel for which batch."""

import json
import re
from dataclasses import dataclass

from lenet_runtime.artifact import Artifact, decode
from lenet_runtime.cuda import Gpu
from lenet_runtime.errors import ArtifactError, BackendUnavailable
from lenet_runtime.formats import FORMATS, numbers

PROGRAMS, WEIGHTS, PTX, CUBIN = FORMATS["cuda"].files
MAX_START = 2**14  # images; every load runs a batch of each start
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")  # of a kernel
LEAST = (8, 0)  # compute capability: bf16, tf32 and asynchronous barriers begin here


@dataclass(frozen=True)
class Program:
    """A kernel, and the same for raw digits.

    Attributes:
        start: the least batch size that it is for.
        images: that one block computes.
        threads: of a block.
        kernel: its name.
        shared_bytes: of shared memory that a block needs.
        raw_kernel: its name for uint8 digits.
        raw_shared_bytes: see `shared_bytes`.
    """

    start: int
    images: int
    threads: int
    kernel: str
    shared_bytes: int
    raw_kernel: str
    raw_shared_bytes: int


def programs(artifact: Artifact) -> tuple[Program, ...]:
    """The artifact's programs, ascending by `Program.start`, the first of which is 1.

    Raises:
        ArtifactError: ``programs.json`` is not what the exporter writes.
    """
    where = artifact.path / PROGRAMS
    try:
        document = decode.parse(artifact.read(PROGRAMS))
        if not isinstance(document, list):
            raise ValueError(f"expected a list, found {type(document).__name__}")
        found = tuple(decode.decode(Program, each, "program") for each in document)
        starts = [program.start for program in found]
        if not starts or starts[0] != 1 or starts != sorted(set(starts)):
            raise ValueError(f"expected ascending starts from 1 on, found {starts}")
        if starts[-1] > MAX_START:
            raise ValueError(f"expected starts of at most {MAX_START}, found {starts[-1]}")
        names = [name for p in found for name in (p.kernel, p.raw_kernel)]
        if not all(map(_NAME.fullmatch, names)):
            raise ValueError(f"expected names of C functions, found {names}")
        if any(min(p.images, p.threads, p.shared_bytes, p.raw_shared_bytes) < 1 for p in found):
            raise ValueError("expected shapes of at least 1")
    except (ValueError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{where}: {error}; export the artifact again") from error
    return found


def code_for(artifact: Artifact, gpu: Gpu) -> bytes:
    """The compiled kernels that this GPU runs best: a cubin of its major number, else PTX.

    Raises:
        BackendUnavailable: there is nothing for it.
        ArtifactError: the file is damaged.
    """
    require_capability(gpu)
    major, minor = _capability(gpu)
    cubins = {
        divmod(number, 10): name for number, name in numbers(CUBIN, artifact.manifest.files).items()
    }
    able = [version for version in cubins if version[0] == major and version[1] <= minor]
    if able:
        return artifact.read(cubins[max(able)])
    if PTX in artifact.manifest.files:
        return artifact.read(PTX) + b"\0"  # the driver takes PTX as a string of C
    raise BackendUnavailable(
        f"{artifact.path}: it was compiled for {sorted(cubins.values())}, none of which runs on "
        f"{gpu.name}, of compute capability {gpu.compute_capability}; export it again without "
        "--architectures"
    )


def require_capability(gpu: Gpu) -> None:
    """Raise `BackendUnavailable` for GPUs that are too old for every kernel."""
    if _capability(gpu) < LEAST:
        raise BackendUnavailable(
            f"fused-cuda: expected a GPU of compute capability 8.0 or later, cuda:{gpu.index} "
            f"({gpu.name}) has {gpu.compute_capability}; use the onnx or torchscript format"
        )


def _capability(gpu: Gpu) -> tuple[int, int]:
    major, _, minor = gpu.compute_capability.partition(".")
    return int(major), int(minor)
