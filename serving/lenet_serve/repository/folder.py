"""`FolderRepository`: what is served from a folder, for those who ask for it."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from lenet_runtime.errors import InputError
from lenet_serve.errors import Code, ServeError
from lenet_serve.limits import Limits
from lenet_serve.model import Model
from lenet_serve.models import ModelState
from lenet_serve.recorder import Recorder
from lenet_serve.repository import scanning
from lenet_serve.repository.keeper import Keeper
from lenet_serve.repository.loading import RepositoryOptions

_CONTROL = "explicit model load / unload is not allowed; start with --allow-model-control"


class FolderRepository:
    """Loads what lies in a folder and follows its changes; thread-safe.

    Args:
        options: What is served, and how.
        limits: Bounds of what the models accept.
        metrics: What is told of models that come, go and fail.

    Attributes:
        options: As given.
        on_control: Called with ``load`` or ``unload`` and a model's name when a client asked for it
            here; a supervisor sets it to tell the other workers, which call `apply`.

    Raises:
        DeployError: There is nothing to serve, or the name is none.
    """

    def __init__(
        self,
        options: RepositoryOptions,
        *,
        limits: Limits | None = None,
        metrics: Recorder | None = None,
    ) -> None:
        self.options = options
        self.on_control: Callable[[str, str], None] = lambda *_: None
        name: str | None = options.name or "lenet"
        scanning.check_name(name or "")
        if not scanning.is_artifact(options.path):
            name = None
            if options.name:
                raise InputError(
                    f"name: expected none for a folder of models, which their own folders name, "
                    f"found {options.name!r}; {options.path} is no artifact"
                )
        found = scanning.scan(options.path, name)
        if not found.places:
            raise scanning.nothing_to_serve(options.path, found)
        self._keeper = Keeper(options, name, limits or Limits(), metrics or Recorder())
        self._keeper.start(found)

    def get(self, name: str, version: str = "") -> Model:
        """Find a model that answers; without a version, the highest that is ready.

        It stays open as long as the caller refers to it.

        Raises:
            ServeError: There is no such model or version, or it is not ready.
        """
        view = self._keeper.view
        try:
            return view.models[name][version]
        except KeyError:
            raise view.absent(name, version) from None

    def index(self) -> list[ModelState]:
        """Every version that lies in the folder or still answers requests, and how it is."""
        return list(self._keeper.view.index)

    @property
    def ready(self) -> bool:
        """Whether the server can answer, and for all that it was started for.

        See `lenet_serve.repository.versions.Versions.view`.
        """
        return self._keeper.view.ready

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all that lay there at the start was loaded, or failed.

        Returns:
            Whether that is so; False after `timeout` seconds.

        Raises:
            DeployError: Nothing of it could be loaded; the first one's reason.
        """
        if not self._keeper.settled.wait(timeout):
            return False
        errors = self._keeper.errors
        if errors and not self._keeper.view.models:
            raise errors[0]
        return True

    def reload(self) -> None:
        """Load everything again, changed or not, as on SIGHUP; returns at once.

        Signals' handlers may call it.
        """
        self._keeper.inbox.put(self._keeper.reload)

    def load(self, name: str) -> None:
        """Load a model of the folder, again if it is loaded; for clients. Waits until it is done.

        Raises:
            ServeError: Clients may not, the folder has no such model, or a version cannot be
                loaded; what was served before still is.
        """
        self._control("load", name)

    def unload(self, name: str) -> None:
        """Serve a model no longer, until it is loaded; for clients. Its requests end well.

        Raises:
            ServeError: Clients may not, or the folder has no such model.
        """
        self._control("unload", name)

    def apply(self, action: str, name: str) -> "Future[None]":
        """Do what a client asked another worker for, ``load`` or ``unload``; returns at once."""
        if self._keeper.stopping:
            raise self._keeper.stopped()
        done: Future[None] = Future()
        act = {"load": self._keeper.load, "unload": self._keeper.unload}[action]
        self._keeper.inbox.put(partial(act, name, done))
        return done

    def _control(self, action: str, name: str) -> None:
        if not self.options.allow_model_control:
            raise ServeError(_CONTROL, Code.UNAVAILABLE)
        done = self.apply(action, name)
        self.on_control(action, name)
        done.result()

    def close(self) -> None:
        """Serve nothing any more, and give the engines back; when no request is left."""
        self._keeper.stop()
