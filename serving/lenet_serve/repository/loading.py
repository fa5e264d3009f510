"""From an artifact in the repository to a model that answers, proven and warm."""

import logging
from dataclasses import dataclass
from pathlib import Path

import lenet_runtime
from lenet_runtime import Artifact
from lenet_runtime.errors import DeployError, InputError, expected_one_of, first_line
from lenet_serve.limits import Limits
from lenet_serve.model import Model
from lenet_serve.repository.scanning import Key, Place

VERSIONS = ("all", "latest")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RepositoryOptions:
    """What is served and how it is loaded; the command line's options.

    Attributes:
        path: An artifact, or a folder of models ``NAME/VERSION/``.
        name: The model's name where the path is one artifact; None is ``lenet``.
        versions: Which versions of a model are served: ``all``, or of ``latest`` the highest that
            loads.
        trust: Whether artifacts that run code are loaded, see `lenet_runtime.load`.
        backend: The backend, see `lenet_runtime.load`.
        device: The device, see `lenet_runtime.load`.
        threads: The CPU threads of a call, see `lenet_runtime.load`.
        max_batch: Images of several requests that are computed together, see `Model`.
        poll_seconds: Seconds between two looks at the folder; 0 for none.
        allow_model_control: Whether clients may load and unload models.
    """

    path: Path
    name: str | None = None
    versions: str = "all"
    trust: bool = False
    backend: str = "auto"
    device: str = "cpu"
    threads: int | None = None
    max_batch: int | None = None
    poll_seconds: float = 1.0
    allow_model_control: bool = False

    def __post_init__(self) -> None:
        if self.versions not in VERSIONS:
            raise InputError(f"versions: {expected_one_of(VERSIONS, self.versions)}")
        if not 0 <= self.poll_seconds < float("inf"):
            raise InputError(
                f"poll_seconds: expected 0, for none, or more, found {self.poll_seconds}"
            )


@dataclass(frozen=True)
class Loaded:
    """What became of a load.

    Attributes:
        digest: The artifact's digest; empty where it could not be read.
        model: The model; None where the artifact is the one that is served already, or there is an
            error.
        error: Why there is no model.
    """

    digest: str = ""
    model: Model | None = None
    error: DeployError | None = None


def load(
    key: Key, place: Place, options: RepositoryOptions, limits: Limits, served: str = ""
) -> Loaded:
    """Open the artifact, load it, prove it on its golden images, and warm it up; never raises.

    The proof is `lenet_runtime.load`'s own: every program of the engine answers the artifact's
    golden images as eager PyTorch did, within the tolerance of its precision.

    Args:
        key: The model's name and version.
        place: Where the artifact lies.
        options: How to load it.
        limits: Bounds of what the model accepts.
        served: The digest of an artifact that need not be loaded again.
    """
    name, version = key
    try:
        if place.problem:
            raise lenet_runtime.ArtifactError(place.problem)
        artifact = Artifact.open(place.path)
        if artifact.digest == served:
            return Loaded(served)
        session = lenet_runtime.load(
            artifact,
            backend=options.backend,
            device=options.device,
            threads=options.threads,
            trust=options.trust,
        )
        try:
            model = Model(name, str(version), session, limits=limits, max_batch=options.max_batch)
            session.warmup(sorted({1, model.max_batch}))
            return Loaded(artifact.digest, model)
        except BaseException:
            session.close()
            raise
    except DeployError as error:
        return Loaded(error=error)
    except Exception as error:  # of an engine; it must not cost those that are served
        _log.exception("%s version %s: the engine failed in a way that is a fault of ours", *key)
        return Loaded(error=DeployError(f"{place.path}: {first_line(error)}"))
