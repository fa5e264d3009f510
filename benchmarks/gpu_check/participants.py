"""What takes part: every backend that runs on CUDA in every precision, and PyTorch's own peers."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lenet_runtime
from benchmarks.gpu_check import COMPILED, FIRST, PROFILES
from lenet_bench.field import EAGER, Contender
from lenet_bench.report import describe
from lenet_export.formats import FORMATS
from lenet_runtime.backends import BACKENDS


@dataclass(frozen=True)
class Participant:
    """One engine that takes part.

    Attributes:
        name: The engine's name in the record.
        backend: A key of `BACKENDS`, or what kind of peer it is.
        precision: The precision of its arithmetic.
        device: The GPU's name, ``cuda:N``.
        folder: The artifact's folder; None for a peer.
        export: The name of the job that makes the artifact; None for a peer.
        sizes: The batch sizes that a compiled peer is compiled for; empty for all others.
    """

    name: str
    backend: str
    precision: str
    device: str
    folder: str | None = None
    export: str | None = None
    sizes: tuple[int, ...] = ()

    @property
    def compiled(self) -> bool:
        """Whether it is compiled anew in each process, for each batch size by itself."""
        return self.backend == COMPILED


def label(backend: str, precision: str, profile: str = "") -> str:
    """An engine's name in the reports: with the precision where that is not fp32."""
    return " ".join(filter(None, [backend, precision.removeprefix("fp32"), profile]))


def formats() -> list[str]:
    """The formats that a backend runs on CUDA, in the order of their value."""
    able = [name for name in FORMATS if backends(name)]
    return sorted(able, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def backends(format: str) -> list[str]:
    """The backends that run the format on CUDA."""
    return [name for name, backend in BACKENDS.items() if backend.takes(format, "cuda")]


def exports(device: str, folder: Path) -> dict[str, dict[str, Any]]:
    """What to make, in the order of its value: the arguments of each export by the job's name.

    Every format that runs on CUDA is made in every precision, each in a folder of its own.
    """
    jobs = {}
    for name in formats():
        for precision in FORMATS[name].precisions:
            for profile in PROFILES if "profile" in FORMATS[name].options else ("",):
                what = label(name, precision, profile)
                jobs[f"export {what}"] = {
                    "format": name, "precision": precision, "device": device,
                    "folder": str(folder / what.replace(" ", "-").replace(":", "-")),
                    "options": {"profile": profile} if profile else {},
                }  # fmt: skip
    return jobs


def ours(jobs: dict[str, dict[str, Any]]) -> list[Participant]:
    """Every backend of every artifact that `exports` makes."""
    return [
        Participant(label(backend, a["precision"], a["options"].get("profile", "")), backend,
                    a["precision"], a["device"], a["folder"], name)
        for name, a in jobs.items()
        for backend in backends(a["format"])
    ]  # fmt: skip


def peers(device: str, sizes: tuple[int, ...]) -> list[Participant]:
    """PyTorch without us, in the order of its value: eager, and `torch.compile` for `sizes`."""
    kinds = ((EAGER, "fp32"), (COMPILED, "fp16"), (COMPILED, "fp32"), (EAGER, "fp16"))
    return [
        Participant(label(kind, precision), kind, precision, device,
              sizes=sizes if kind == COMPILED else ())
        for kind, precision in kinds
    ]  # fmt: skip


@contextmanager
def opened(participant: Participant) -> Iterator[Contender]:
    """Load the engine; it is closed at the end."""
    if participant.folder is not None:
        where = (participant.folder, participant.backend, participant.device)
        with lenet_runtime.load(*where, trust=True) as session:
            details = describe(session)
            yield Contender(participant.name, session.run, details, None, session.predictor)
        return
    from benchmarks.gpu_check.peers import build

    backend, precision = participant.backend, participant.precision
    details = {"backend": backend, "precision": precision, "device": participant.device}
    peer = build(participant.name, precision, participant.device, compiled=participant.compiled)
    with closing(peer):
        yield Contender(participant.name, peer.run, details | {"threads": None}, None, peer)
