"""Steps in processes of their own: several at a time, each with a deadline of its own."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu_check import ROOT

POLL_S = 0.05
_LAST_CHARACTERS = 600


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        name: unique in the run.
        kind: of `benchmarks.gpu_check.worker.KINDS`.
        arguments: of it, JSON types.
        seconds: that it may take.
        alone: whether nothing else may run meanwhile.
    """

    name: str
    kind: str
    arguments: dict[str, Any]
    seconds: float = 120.0
    alone: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        result: what it wrote, whole or until it was ended; empty where it wrote nothing.
        reason: why it failed; empty where it did not.
        seconds: that it took.
    """

    result: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0


class Budget:
    """The time that the whole run has.

    Args:
        seconds: in all.
        clock: seconds since whenever.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self._clock, self._start = seconds, clock, clock()

    def spent(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._start

    def left(self, share: float = 1.0) -> float:
        """Seconds until this share of the budget is spent; not below 0."""
        return max(0.0, share * self.seconds - self.spent())


class Runner:
    """Runs steps, in a folder of their own.

    Args:
        folder: for what they are told and what they write.
        say: called with a line of progress.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self._running: dict[str, _Process] = {}

    def run(self, steps: Sequence[Step], seconds: float, width: int) -> dict[str, Outcome]:
        """Run them in order, `width` at a time, for so long; what is not begun by then is skipped.

        Whatever ends it early, Ctrl-C among it, ends them all.
        """
        waiting, outcomes, end = list(steps), {}, time.monotonic() + seconds
        try:
            while waiting or self._running:
                if time.monotonic() >= end:
                    for step in waiting:
                        outcomes[step.name] = Outcome(reason="skipped: no time was left for it")
                    waiting = []
                while waiting and self._free(waiting[0], width):
                    step = waiting.pop(0)
                    self._running[step.name] = _Process(step, self._folder, end)
                for name, process in list(self._running.items()):
                    ended = process.ended()
                    if ended is not None:
                        del self._running[name]
                        outcomes[name] = ended
                        self._say(f"{ended.seconds:6.1f} s  {name}: {ended.reason or 'done'}")
                time.sleep(POLL_S)
        finally:
            for process in self._running.values():
                process.kill()
            self._running.clear()
        return {step.name: outcomes[step.name] for step in steps}

    def written(self, step: Step) -> dict[str, Any]:
        """What a step has written so far; empty where it has not."""
        return read_result(_file(self._folder, step, "json"))

    def _free(self, step: Step, width: int) -> bool:
        if any(process.step.alone for process in self._running.values()):
            return False
        return not self._running if step.alone else len(self._running) < width


class _Process:
    def __init__(self, step: Step, folder: Path, end: float) -> None:
        self.step, self._start = step, time.monotonic()
        self._end = min(end, self._start + step.seconds)
        self._out, self._log = _file(folder, step, "json"), _file(folder, step, "log")
        self._out.unlink(missing_ok=True)
        given = _file(folder, step, "arguments.json")
        arguments = {"out": str(self._out), "seconds": self._end - self._start} | step.arguments
        given.write_text(json.dumps(arguments))
        command = [sys.executable, "-m", "benchmarks.gpu_check.worker", step.kind, str(given)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*step.arguments.get("wrapper", []), *command],
                cwd=ROOT, env=environment(folder), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def ended(self) -> Outcome | None:
        """How it ended; None while it runs. Ends it where its time is up."""
        code, late = self._process.poll(), time.monotonic() >= self._end
        if code is None and not late:
            return None
        seconds = time.monotonic() - self._start
        self.kill()
        if code == 0:
            return Outcome(read_result(self._out), "", seconds)
        reason = last_words(self._log)
        if code is None:
            reason = f"ended after {seconds:.0f} s, which was its time; its last words: {reason}"
        elif code < 0:
            reason = f"the process died of signal {-code}; its last words: {reason}"
        return Outcome(read_result(self._out), reason, seconds)

    def kill(self) -> None:
        """End it and all that it started: compilers have workers of their own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _file(folder: Path, step: Step, suffix: str) -> Path:
    name = "".join(c if c.isalnum() else "-" for c in step.name)
    return folder / f"{name}.{suffix}"


def read_result(path: Path) -> dict[str, Any]:
    """What a step wrote; empty where it wrote nothing."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text())
        return found if isinstance(found, dict) else {}
    return {}


def environment(folder: Path) -> dict[str, str]:
    """This process's, with the checkout's packages, and with caches that end with the run."""
    paths = [str(ROOT), str(ROOT / "export"), str(ROOT / "runtime"), str(ROOT / "benchmarks")]
    given = os.environ.get("PYTHONPATH", "")
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([*paths, *given.split(os.pathsep)]).rstrip(os.pathsep),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        **toolkit(),
    }


def toolkit(places: Path = Path("/usr/local")) -> dict[str, str]:
    """CUDA_HOME, where it is not set and there is a toolkit.

    PyTorch, which compiles with its headers, takes it for what is above the folder of nvcc, also
    where that is a link, or a script that starts the real one.
    """
    nvcc = shutil.which("nvcc")
    beside = [Path(nvcc).resolve().parents[1]] if nvcc else []
    folders = [*beside, places / "cuda", *sorted(places.glob("cuda-*"), reverse=True)]
    found = next((str(one) for one in folders if (one / "include" / "cuda.h").exists()), None)
    return {"CUDA_HOME": found} if found and "CUDA_HOME" not in os.environ else {}


def last_words(log: Path) -> str:
    """The last line that a process wrote, without the paths of this machine."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return tidy(lines[-1])[-_LAST_CHARACTERS:] if lines else "none"


def tidy(text: str) -> str:
    """In one line, without the paths of this machine."""
    for path, name in ((ROOT, "."), (Path.home(), "~"), (Path(sys.prefix), "<python>")):
        if str(path) != "/":
            text = text.replace(str(path), name)
    text = re.sub(r"\S*/gpu-check-[^/\s]+/", "", text)
    return " ".join(text.split())
