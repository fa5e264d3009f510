"""What is served, is to be served, and what became of it: bookkeeping, without threads or files."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from lenet_runtime.errors import DeployError
from lenet_serve.errors import Code, ServeError
from lenet_serve.model import Model
from lenet_serve.models import ModelState, not_found
from lenet_serve.repository.scanning import Key, Place

READY, UNAVAILABLE, LOADING, UNLOADING = "READY", "UNAVAILABLE", "LOADING", "UNLOADING"
UNLOADED = "unloaded"


@dataclass(frozen=True)
class View:
    """What there is at one moment. It is replaced whole, so readers need no lock.

    Attributes:
        models: The models that answer, by name and version; the version ``""`` is the default.
        index: Every version.
        ready: Whether the server is ready, see `Versions.view`.
    """

    models: Mapping[str, Mapping[str, Model]] = field(default_factory=lambda: MappingProxyType({}))
    index: tuple[ModelState, ...] = ()
    ready: bool = False

    def absent(self, name: str, version: str = "") -> ServeError:
        """What to say to whom asks for a model that is not among `models`."""
        states = {s.version: s.state for s in self.index if s.name == name}
        if not states or (version and version not in states):
            return not_found(name, version, [(state.name, state.version) for state in self.index])
        asked = {states[version]} if version else {*states.values()}
        state = next(s for s in (LOADING, UNLOADING, *asked) if s in asked)
        return ServeError(
            f"model {name}{f' version {version}' * bool(version)} is not ready: {state}; the "
            "repository's index says more",
            Code.UNAVAILABLE,
            retry_after=1 if state == LOADING else None,
        )


@dataclass
class Entry:
    """A version that lies in the folder.

    Attributes:
        place: Where it lies, as the last scans saw it.
        model: What answers; None where nothing does.
        digest: The digest of the artifact that answers.
        tried: The signature of the place that was loaded last, well or not; None before.
        again: Whether it is to be loaded even if its artifact has not changed.
        loading: Whether it is being loaded.
        error: Why the last load failed.
        gone: Whether its folder is gone; it answers until another version of the model does.
    """

    place: Place
    model: Model | None = None
    digest: str = ""
    tried: tuple[object, ...] | None = None
    again: bool = False
    loading: bool = False
    error: DeployError | None = None
    gone: bool = False

    def reason(self, name: str, version: int) -> str:
        """Why the last load failed, for clients: without the folder's path."""
        return str(self.error or "").replace(str(self.place.path), f"{name}/{version}")

    @property
    def due(self) -> bool:
        """Whether what lies there was not tried yet."""
        return not self.loading and (self.again or self.tried != self.place.signature)

    @property
    def open(self) -> bool:
        """Whether it answers, or may when it is loaded."""
        return self.model is not None or self.loading or self.due


class Versions:
    """Every version in the folder, by one policy.

    Args:
        latest: Whether of each model the highest version that loads is served alone; else all are.

    Attributes:
        entries: The versions that lie in the folder.
        unloaded: Names of models that are not served because somebody asked for that.
        leaving: Models that answer nothing new and have requests under way, with their keys.
        required: Names of the models that the server needs for being ready; None before the first
            look at the folder.
    """

    def __init__(self, *, latest: bool) -> None:
        self.latest = latest
        self.entries: dict[Key, Entry] = {}
        self.unloaded: set[str] = set()
        self.leaving: list[tuple[Key, Model]] = []
        self.required: set[str] | None = None

    def update(self, places: Mapping[Key, Place], gone: Iterable[Key]) -> None:
        """Take over what lies in the folder, and what no longer does."""
        for key, place in places.items():
            entry = self.entries.setdefault(key, Entry(place))
            entry.place, entry.gone = place, False
        for key in gone:
            self.entries[key].gone = True
            if not self.entries[key].model:
                del self.entries[key]
        names = {name for (name, _), entry in self.entries.items() if not entry.gone}
        self.required = names if self.required is None else self.required & names

    def retire(self, key: Key) -> None:
        """Let a version answer nothing new."""
        self._leave(key)
        entry = self.entries[key]
        entry.digest, entry.tried = "", None
        if entry.gone:
            del self.entries[key]

    def replace(self, key: Key, model: Model, digest: str) -> None:
        """Let a version answer by another model."""
        self._leave(key)
        self.entries[key].model, self.entries[key].digest = model, digest

    def _leave(self, key: Key) -> None:
        model, self.entries[key].model = self.entries[key].model, None
        if model:
            self.leaving.append((key, model))

    def of(self, name: str) -> dict[int, Entry]:
        """A model's versions, the highest first."""
        own = {version: e for (known, version), e in self.entries.items() if known == name}
        return dict(sorted(own.items(), reverse=True))

    def wanted(self, name: str) -> dict[int, Entry]:
        """The versions of a model that are to be served; of `latest`, down to one that may load."""
        if name in self.unloaded:
            return {}
        wanted = {}
        for version, entry in self.of(name).items():
            if entry.gone:
                continue
            wanted[version] = entry
            if self.latest and entry.open:
                break
        return wanted

    def due(self) -> Iterator[tuple[Key, Entry]]:
        """The versions that are to be loaded now."""
        for name in self._names():
            for version, entry in self.wanted(name).items():
                if entry.due:
                    yield (name, version), entry

    def surplus(self) -> Iterator[Key]:
        """The versions that answer and no longer shall: once one that shall does, if any shall."""
        for name in self._names():
            wanted = self.wanted(name)
            if not wanted or any(entry.model for entry in wanted.values()):
                for version, entry in self.of(name).items():
                    if entry.model and version not in wanted:
                        yield name, version

    def view(self) -> View:
        """What there is at this moment.

        The server is ready where it answers, and for all that it was started for: each model that
        lay in the folder at the start must have a version that answers, unless it was removed or
        unloaded since. What comes later changes nothing: a new model that loads slowly, or not at
        all, takes nobody's server away.
        """
        models: dict[str, Mapping[str, Model]] = {}
        for name in self._names():
            ready = {str(v): e.model for v, e in self.of(name).items() if e.model}
            if ready:
                models[name] = {"": next(iter(ready.values())), **ready}
        needed = (self.required or set()) - self.unloaded
        return View(models, tuple(self._index()), bool(models) and needed <= models.keys())

    def _names(self) -> list[str]:
        return sorted({name for name, _ in self.entries})

    def _index(self) -> Iterator[ModelState]:
        for name, version in sorted({*self.entries, *(key for key, _ in self.leaving)}):
            entry = self.entries.get((name, version))
            state, reason = self._state(name, version, entry)
            yield ModelState(name, str(version), state, reason)

    def _state(self, name: str, version: int, entry: Entry | None) -> tuple[str, str]:
        reason = entry.reason(name, version) if entry else ""
        leaving = {key for key, _ in self.leaving}
        refused = f"the artifact there now was refused: {reason}" if reason else ""
        rules = (
            (entry and entry.gone, READY, "its folder is gone; it answers until another does"),
            (entry and entry.model, READY, refused),
            (entry and entry.loading, LOADING, ""),
            ((name, version) in leaving, UNLOADING, "it answers its last requests"),
            (name in self.unloaded, UNAVAILABLE, UNLOADED),
            (version in self.wanted(name), UNAVAILABLE, reason or "it waits to be loaded"),
        )
        for holds, state, why in rules:
            if holds:
                return state, why
        return UNAVAILABLE, "a higher version is served alone (--versions latest)"
