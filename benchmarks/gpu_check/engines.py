"""What takes part: every backend of the tables that runs on CUDA, and peers of PyTorch's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lenet_runtime
from benchmarks.gpu_check import FIRST, PROFILES, TUNES
from lenet_bench.harness import Engine as Run
from lenet_export.formats import FORMATS
from lenet_runtime.backends import BACKENDS
from lenet_runtime.backends.protocol import Predictor


@dataclass(frozen=True)
class Engine:
    """One that takes part.

    Attributes:
        name: as the record calls it.
        backend: key of `BACKENDS`, or what the peer is.
        precision: of its arithmetic.
        device: ``cuda:N``.
        folder: of its artifact; None for a peer.
        export: name of the step that makes the artifact; None for a peer.
        sizes: batch sizes that a peer is compiled for; those of an artifact are any.
    """

    name: str
    backend: str
    precision: str
    device: str
    folder: str | None = None
    export: str | None = None
    sizes: tuple[int, ...] = ()

    @property
    def peer(self) -> bool:
        """Whether it is none of ours."""
        return self.folder is None

    def as_arguments(self) -> dict[str, Any]:
        """JSON types, from which `Engine` makes it again."""
        return asdict(self)


@dataclass(frozen=True)
class Runner:
    """A loaded engine: whole calls, and the predictor that may have steps."""

    run: Run
    predictor: Predictor


def engine_label(backend: str, precision: str) -> str:
    """As reports name it: the precision where it is not fp32."""
    return backend if precision == "fp32" else f"{backend} {precision}"


def formats() -> list[str]:
    """Those that a backend runs on CUDA, in the order of their value."""
    able = [name for name in FORMATS if backends(name)]
    return sorted(able, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def backends(format: str) -> list[str]:
    """Those that run it on CUDA."""
    return [name for name, backend in BACKENDS.items() if backend.takes(format, "cuda")]


@dataclass(frozen=True)
class Export:
    """One artifact to make.

    Attributes:
        name: of the step.
        format: key of `FORMATS`.
        precision: one of the format's.
        options: of the format.
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
    def folder(self) -> str:
        """A name for its folder."""
        return self.name.removeprefix("export ").replace(" ", "-").replace(":", "-")


def exports() -> list[Export]:
    """Every format that runs on CUDA in every precision, in the order of their value."""
    found = []
    for kind in formats():
        given = FORMATS[kind]
        profiles = PROFILES if "profile" in given.options else ("",)
        for precision in given.precisions:
            for profile in profiles:
                name = f"export {engine_label(kind, precision)} {profile}".rstrip()
                options = {"profile": profile} if profile else {}
                found.append(Export(name, kind, precision, options))
    return found


def ours(device: str, folder: Path) -> list[Engine]:
    """Every backend of every artifact."""
    found = []
    for one in exports():
        profile = one.options.get("profile", "")
        for backend in backends(one.format):
            name = f"{engine_label(backend, one.precision)} {profile}".rstrip()
            where = str(folder / one.folder)
            found.append(Engine(name, backend, one.precision, device, where, one.name))
    return found


@contextmanager
def opened(engine: Engine) -> Iterator[Runner]:
    """Load it; closed at the end."""
    if engine.folder is None:
        from benchmarks.gpu_check import peers

        peer = peers.build(engine)
        yield Runner(peer.run, peer)
        peer.close()
        return
    with lenet_runtime.load(engine.folder, engine.backend, engine.device, trust=True) as session:
        yield Runner(session.run, session.predictor)


def unit_noise(size: int) -> NDArray[np.float32]:
    """A batch to try an engine with."""
    return np.random.default_rng(size).standard_normal((size, 1, 32, 32), np.float32)
