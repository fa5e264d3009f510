"""`Keeper`: the one thread that changes what is served.

It looks at the folder, starts loads in threads of their own, which report to it, and shows what
there is as a `View`, replaced whole, so that nobody else needs a lock. What others want of it they
put into its inbox, as functions.

A model that was replaced or unloaded admits nothing more, and is closed in a thread of its own once
its last request has ended. A request that had found it and was not admitted yet looks again.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue

from lenet_runtime.errors import DeployError, printable
from lenet_serve.errors import Code, ServeError
from lenet_serve.limits import Limits
from lenet_serve.model import Model
from lenet_serve.recorder import Recorder
from lenet_serve.repository import loading, scanning
from lenet_serve.repository.loading import Loaded, RepositoryOptions
from lenet_serve.repository.scanning import Key, Place, Scan
from lenet_serve.repository.versions import Versions

_LOADERS = 4  # loads at a time: a slow one delays no other, and a hundred do not take all memory
_CLOSE_S = 2.0  # that the end waits for requests which somebody left behind
_SETTLE_S = 0.1  # between two looks at the folder of which both must miss a version
_log = logging.getLogger(__name__)


class Keeper:
    """Loads what lies in a folder and follows its changes.

    Args:
        options: What is served, and how.
        name: The model's name where the folder is one artifact, else None.
        limits, metrics: See `FolderRepository`.

    Attributes:
        inbox: What it is to do next; putting something in is safe anywhere, in signals' handlers
            and finalizers, too.
        view: What there is.
        stopping: Whether it does nothing more.
        settled: Set once all that lay there at the start was loaded, or failed.
    """

    def __init__(
        self, options: RepositoryOptions, name: str | None, limits: Limits, metrics: Recorder
    ) -> None:
        self.inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.settled = threading.Event()
        self._options, self._name = options, name
        self._limits, self._metrics = limits, metrics
        self._versions = Versions(latest=options.versions == "latest")
        self.view = self._versions.view()
        self._thread = threading.Thread(target=self._keep, name="repository", daemon=True)
        self._last: dict[Key, Place] = {}  # what the last look saw
        self._said: set[str] = set()
        self._jobs: deque[Callable[[], None]] = deque()
        self._running = 0
        self._waiting: dict[str, list[Future[None]]] = {}
        self._closing: set[Model] = set()
        self.stopping = False

    def start(self, found: Scan) -> None:
        """Begin with what lies in the folder."""
        self._take_over(found, at_once=True)
        self._thread.start()

    def stop(self) -> None:
        """Serve nothing, end the thread, and close all sessions."""
        self.inbox.put(self._stop)
        if self._thread.is_alive():
            self._thread.join()

    @staticmethod
    def stopped() -> ServeError:
        """What to say to whom asks for something when it has stopped."""
        return ServeError("load and unload: the server stops", Code.UNAVAILABLE)

    @property
    def errors(self) -> list[DeployError]:
        """Why versions could not be loaded."""
        return [entry.error for entry in list(self._versions.entries.values()) if entry.error]

    # From here on for the thread alone, by way of the inbox.

    def look(self, *, at_once: bool = False) -> None:
        """See what changed in the folder.

        What two looks in a row saw alike counts: what is being copied changes in between, and an
        export on some file systems takes the folder away for an instant. With `at_once`, what is
        there counts at the first look. A folder without any version costs nobody what is served.
        """
        root = self._options.path
        try:
            found = scanning.scan(root, self._name)
            if at_once and self._last.keys() - found.places.keys():
                time.sleep(_SETTLE_S)
                self._last, found = found.places, scanning.scan(root, self._name)
            if not found.places:
                raise scanning.nothing_to_serve(root, found)
        except DeployError as error:
            self._say(f"{error}; what is served stays")
        else:
            self._take_over(found, at_once=at_once)

    def reload(self) -> None:
        """Load everything again, changed or not."""
        self._again(None)
        self._settle()

    def load(self, name: str, done: "Future[None]") -> None:
        """Load a model that lies in the folder, changed or not."""
        self._versions.unloaded.discard(name)
        self._again(name)
        self._waiting.setdefault(name, []).append(done)
        self._settle()

    def unload(self, name: str, done: "Future[None]") -> None:
        """Serve a model no longer, until it is loaded."""
        if self._versions.of(name):
            self._versions.unloaded.add(name)
            self._settle()
            done.set_result(None)
        else:
            done.set_exception(self.view.absent(name))

    def _keep(self) -> None:
        poll_s = self._options.poll_seconds or threading.TIMEOUT_MAX
        next_look = time.monotonic() + poll_s
        while not self.stopping:
            act: Callable[[], None] = self.look
            with contextlib.suppress(Empty):
                act = self.inbox.get(timeout=max(0.0, next_look - time.monotonic()))
            if act == self.look:
                next_look = time.monotonic() + poll_s
            try:
                act()
            except Exception:  # a fault of ours must not stop all that would come after it
                _log.exception("the repository failed to follow a change")

    def _stop(self) -> None:
        self.stopping = True
        models = [entry.model for entry in self._versions.entries.values()]
        for waiting in self._waiting.values():
            for done in waiting:
                done.set_exception(self.stopped())
        self._versions = Versions(latest=False)
        self.view = self._versions.view()
        threads = [threading.Thread(target=m.close, daemon=True) for m in models if m]
        for thread in threads:
            thread.start()
        end = time.monotonic() + _CLOSE_S
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _again(self, name: str | None) -> None:
        """Have one model, or all, loaded as they are in the folder now, changed or not."""
        for (known, _), entry in self._versions.entries.items():
            entry.again = entry.again or name in (None, known)
        self.look(at_once=True)

    def _take_over(self, found: Scan, *, at_once: bool) -> None:
        now, last, self._last = found.places, self._last, found.places
        self._said &= {*found.notes}
        for note in found.notes:
            self._say(note)
        places = {key: place for key, place in now.items() if at_once or last.get(key) == place}
        self._versions.update(places, self._versions.entries.keys() - now.keys() - last.keys())
        self._settle()

    def _say(self, message: str) -> None:
        """Log a message, unless the last look said it already."""
        if message not in self._said:
            self._said.add(message)
            _log.warning("%s", printable(message, keep=""))

    def _settle(self) -> None:
        """Load what is due, let go of what is surplus, and show how things are."""
        for key, entry in list(self._versions.due()):
            served = "" if entry.again else entry.digest
            entry.tried, entry.again, entry.loading = entry.place.signature, False, True
            self._jobs.append(partial(self._work, key, entry.place, served))
        while self._jobs and self._running < _LOADERS:
            self._running += 1
            threading.Thread(target=self._jobs.popleft(), name="load", daemon=True).start()
        for key in list(self._versions.surplus()):
            self._versions.retire(key)
        self._show()
        for name in list(self._waiting):
            self._answer(name)

    def _show(self) -> None:
        """Show how things are; only then are models closed that nobody finds any more."""
        self.view = self._versions.view()
        for key, model in self._versions.leaving:
            if model not in self._closing:
                self._closing.add(model)
                threading.Thread(target=self._end, args=[key, model], daemon=True).start()
        if not any(entry.loading for entry in self._versions.entries.values()):
            self.settled.set()

    def _end(self, key: Key, model: Model) -> None:
        """In a thread of its own: close a model once its requests have ended, and report."""
        model.close()
        self.inbox.put(partial(self._ended, key, model))

    def _ended(self, key: Key, model: Model) -> None:
        self._versions.leaving.remove((key, model))
        self._closing.remove(model)
        entry = self._versions.entries.get(key)
        if not (entry and entry.model):
            self._metrics.unloaded(key[0], str(key[1]))
        _log.info("%s version %s: what answered before is closed", *key)
        self._show()

    def _answer(self, name: str) -> None:
        """Tell those who wait for a model's load how it went, where it is over."""
        wanted = self._versions.wanted(name)
        if any(entry.loading for entry in wanted.values()):
            return
        error: ServeError | None = None
        if not wanted:
            error = self.view.absent(name)
        elif reasons := [e.reason(name, version) for version, e in wanted.items() if e.error]:
            error = ServeError(f"failed to load {name}: {'; '.join(reasons)}")
        for done in self._waiting.pop(name):
            done.set_exception(error) if error else done.set_result(None)

    def _work(self, key: Key, place: Place, served: str) -> None:
        """In a thread of its own: load, and report."""
        begin = time.perf_counter()
        loaded = loading.load(key, place, self._options, self._limits, served)
        self.inbox.put(partial(self._loaded, key, loaded, time.perf_counter() - begin))

    def _loaded(self, key: Key, loaded: Loaded, seconds: float) -> None:
        self._running -= 1
        entry = self._versions.entries.get(key)
        if entry is None:  # its folder went meanwhile
            if loaded.model:
                loaded.model.close()
            self._settle()
            return
        entry.loading, entry.error = False, loaded.error
        if loaded.model:
            session = loaded.model.session
            _log.info("%s version %s: ready, %s on %s, loaded in %.3f s",
                      *key, session.backend, session.device, seconds)  # fmt: skip
            if entry.model:
                self._metrics.reloaded(True)
            self._versions.replace(key, loaded.model, loaded.digest)
            self._metrics.loaded(key[0], str(key[1]))
        elif loaded.error:
            stays = ", the one before serves on" if entry.model else ""
            _log.error("%s version %s: not loaded%s: %s", *key, stays, loaded.error)
            self._metrics.reloaded(False)
        self._settle()  # where there is neither, what is there is what is served
