"""What takes part: every backend that runs on CUDA in every precision, and PyTorch's own peers."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import lenet_runtime
from benchmarks.gpu_check import COMPILED, FIRST, PROFILES, RIVALS, TUNES
from lenet_bench.field import EAGER, Contender
from lenet_bench.report import describe
from lenet_export.formats import FORMATS
from lenet_runtime.backends import BACKENDS


@dataclass(frozen=True)
class Export:
    """One artifact to make.

    Attributes:
        name: The name of the job that makes the artifact.
        format: A key of `FORMATS`.
        precision: One of the format's precisions.
        options: Options of the format.
    """

    name: str
    format: str
    precision: str
    options: dict[str, str]

    @property
    def tunes(self) -> bool:
        """Whether building it times candidates on the GPU."""
        return self.format in TUNES

    @property
    def alone(self) -> bool:
        """Whether it is built while nothing else runs: a rival must be tuned at its best."""
        return self.tunes and self.format in RIVALS

    @property
    def folder(self) -> str:
        """The name of the artifact's folder."""
        return self.name.removeprefix("export ").replace(" ", "-").replace(":", "-")


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


def exports() -> list[Export]:
    """Every format that runs on CUDA in every precision, in the order of their value."""
    return [
        Export(f"export {label(name, precision, profile)}", name, precision,
               {"profile": profile} if profile else {})
        for name in formats()
        for precision in FORMATS[name].precisions
        for profile in (PROFILES if "profile" in FORMATS[name].options else ("",))
    ]  # fmt: skip


def ours(device: str, folder: Path) -> list[Participant]:
    """Every backend of every artifact."""
    return [
        Participant(label(backend, one.precision, one.options.get("profile", "")), backend,
              one.precision, device, str(folder / one.folder), one.name)
        for one in exports()
        for backend in backends(one.format)
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
        load = {"backend": participant.backend, "device": participant.device, "trust": True}
        with lenet_runtime.load(participant.folder, **load) as session:
            details = describe(session)
            yield Contender(participant.name, session.run, details, None, session.predictor)
        return
    from benchmarks.gpu_check.peers import build

    backend, precision = participant.backend, participant.precision
    details = {"backend": backend, "precision": precision, "device": participant.device}
    peer = build(participant.name, precision, participant.device, participant.sizes)
    with closing(peer):
        yield Contender(participant.name, peer.run, details | {"threads": None}, None, peer)
