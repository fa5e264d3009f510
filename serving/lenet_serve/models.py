"""Which models are served: `Repository`, what a service asks, and its simplest case."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from lenet_runtime.errors import expected_one_of
from lenet_serve.errors import Code, ServeError
from lenet_serve.model import Model


@dataclass(frozen=True)
class ModelState:
    """One line of the repository's index.

    Attributes:
        name: The model's name.
        version: The version, a number; empty where none could be read.
        state: ``READY``, ``LOADING``, ``UNLOADING`` or ``UNAVAILABLE``.
        reason: Why it is not ready; or, where it is, why a newer artifact in its place is not.
    """

    name: str
    version: str
    state: str
    reason: str = ""


class Repository(Protocol):
    """What a service asks about models. Thread-safe, and `get` never waits."""

    def get(self, name: str, version: str = "") -> Model:
        """Return a model that is ready; without a version, the latest one.

        Raises:
            ServeError: NOT_FOUND, there is no such model or version; UNAVAILABLE, it is not ready.
        """

    def index(self) -> list[ModelState]:
        """Every version of every model, also those that could not be loaded."""

    @property
    def ready(self) -> bool:
        """Whether every model that is to be served answers."""

    def reload(self) -> None:
        """Load all models again, as on SIGHUP; the old ones answer until then. Returns at once."""

    def load(self, name: str) -> None:
        """Load a model, or what is new of it; the old one answers until the new one does.

        It waits until that is done, so an event loop calls it in a thread.

        Raises:
            ServeError: There is no such model, it cannot be loaded, or models are fixed.
        """

    def unload(self, name: str) -> None:
        """Take a model out of service; what it has begun it answers. `load` says what it raises.

        Nothing happens where it is not loaded.
        """

    def close(self) -> None:
        """Close all models, once their requests are answered."""


class StaticRepository:
    """Models that somebody made, and that stay as they are.

    Args:
        models: The models; several versions of one name are fine.
    """

    def __init__(self, models: Iterable[Model]) -> None:
        self._models = {(model.name, model.version): model for model in models}
        self._latest: dict[str, Model] = {}
        for model in sorted(self._models.values(), key=lambda model: int(model.version)):
            self._latest[model.name] = model

    def get(self, name: str, version: str = "") -> Model:
        """See `Repository.get`."""
        model = self._models.get((name, version)) if version else self._latest.get(name)
        if model is None:
            raise not_found(name, version, list(self._models))
        return model

    def index(self) -> list[ModelState]:
        """See `Repository.index`."""
        return [ModelState(name, version, "READY") for name, version in self._models]

    @property
    def ready(self) -> bool:
        """See `Repository.ready`."""
        return True

    def reload(self) -> None:
        """Do nothing; see `Repository.reload`."""

    def load(self, name: str) -> None:
        """Refuse; see `Repository.load`."""
        raise ServeError(
            f"load and unload: the models of this server are fixed, found {name!r}; serve a "
            "repository with --allow-model-control",
            Code.UNAVAILABLE,
        )

    unload = load

    def close(self) -> None:
        """See `Repository.close`."""
        for model in self._models.values():
            model.close()


def not_found(name: str, version: str, known: Iterable[tuple[str, str]]) -> ServeError:
    """The error of a model or a version, ``(name, version)``, that is none of the known ones."""
    versions: dict[str, list[str]] = {}
    for model, own in known:
        versions.setdefault(model, []).append(own)
    if name in versions:
        text = f"version of {name}: {expected_one_of(versions[name], version)}"
    elif versions:
        text = f"model: {expected_one_of(versions, name)}"
    else:
        text = f"model: no model is loaded, found {name!r}"
    return ServeError(text, Code.NOT_FOUND)
