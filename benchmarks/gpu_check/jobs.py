"""Jobs in processes of their own: several at a time, each with a deadline of its own."""

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
class Job:
    """One thing to do.

    Attributes:
        name: A name that is unique in the run.
        kind: A key of `benchmarks.gpu_check.worker.KINDS`.
        arguments: What the worker is told, JSON types.
        seconds: The time that it may take.
        wrapper: The words of a command that the worker runs under.
    """

    name: str
    kind: str
    arguments: dict[str, Any]
    seconds: float = 120.0
    wrapper: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        result: What the job wrote, whole or until it was ended; empty where it wrote nothing.
        reason: Why it failed; empty where it did not.
        seconds: The time that it took.
    """

    result: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0


class Budget:
    """The time that the whole run has.

    Args:
        seconds: The time in all.
        clock: A clock that counts seconds from any moment.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self._clock, self._start = seconds, clock, clock()

    def left(self, share: float = 1.0) -> float:
        """Seconds until this share of the budget is spent; not below 0."""
        return max(0.0, share * self.seconds - (self._clock() - self._start))


class Runner:
    """Runs jobs, each in a process of its own.

    Args:
        folder: The folder for what the jobs are told and what they write.
        say: Called with a line of progress.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say

    def run(self, jobs: Sequence[Job], seconds: float, width: int) -> dict[str, Outcome]:
        """Run the jobs in order, `width` at a time; what is not begun in `seconds` is skipped.

        Whatever ends it early, Ctrl-C among it, ends all their processes.
        """
        waiting, outcomes, end = list(jobs), {}, time.monotonic() + seconds
        running: dict[str, _Process] = {}
        try:
            while waiting or running:
                if time.monotonic() >= end:
                    skipped = Outcome(reason="skipped: no time was left for it")
                    outcomes |= {job.name: skipped for job in waiting}
                    waiting.clear()
                while waiting and len(running) < width:
                    job = waiting.pop(0)
                    running[job.name] = _Process(job, self._folder, end)
                for name, process in list(running.items()):
                    outcome = process.outcome()
                    if outcome is not None:
                        del running[name]
                        outcomes[name] = outcome
                        self._say(f"{outcome.seconds:6.1f} s  {name}: {outcome.reason or 'done'}")
                time.sleep(POLL_S)
        finally:
            for process in running.values():
                process.kill()
        return {job.name: outcomes[job.name] for job in jobs}

    def written(self, job: Job) -> dict[str, Any]:
        """What a job has written so far; empty where it has not."""
        return read_result(_file(self._folder, job, "json"))


class _Process:
    def __init__(self, job: Job, folder: Path, end: float) -> None:
        self._start = time.monotonic()
        self._end = min(end, self._start + job.seconds)
        self._out, self._log = _file(folder, job, "json"), _file(folder, job, "log")
        self._out.unlink(missing_ok=True)
        arguments = _file(folder, job, "arguments.json")
        arguments.write_text(json.dumps({"out": str(self._out)} | job.arguments))
        command = [sys.executable, "-m", "benchmarks.gpu_check.worker", job.kind, str(arguments)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*job.wrapper, *command], cwd=ROOT, env=environment(folder),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def outcome(self) -> Outcome | None:
        """How it ended; None while it runs. Ends it where its time is up."""
        code = self._process.poll()
        if code is None and time.monotonic() < self._end:
            return None
        seconds = time.monotonic() - self._start
        self.kill()
        reason = "" if code == 0 else last_words(self._log)
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


def _file(folder: Path, job: Job, suffix: str) -> Path:
    name = "".join(c if c.isalnum() else "-" for c in job.name)
    return folder / f"{name}.{suffix}"


def read_result(path: Path) -> dict[str, Any]:
    """What a job wrote; empty where it wrote nothing."""
    with contextlib.suppress(OSError, ValueError):
        result = json.loads(path.read_text())
        return result if isinstance(result, dict) else {}
    return {}


def environment(folder: Path) -> dict[str, str]:
    """This process's, with the checkout's packages, and with caches that end with the run."""
    paths = [str(ROOT / part) for part in ("", "export", "runtime", "benchmarks")]
    before = os.environ.get("PYTHONPATH", "")
    variables = os.environ | {
        "PYTHONPATH": os.pathsep.join([*paths, *before.split(os.pathsep)]).rstrip(os.pathsep),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        # Exports compute their references on the CPU, several at a time: with every core for each,
        # and threads that spin while they wait, four took more than 39 s on 16 cores, one 14 s.
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // 4)),
        "OMP_WAIT_POLICY": "PASSIVE",
        **toolkit(),
    }
    # Without compiled bytecode, each of some thirty processes takes seconds more to import PyTorch.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


def toolkit(places: Path = Path("/usr/local")) -> dict[str, str]:
    """CUDA_HOME, where it is not set and there is a toolkit.

    PyTorch, which compiles with its headers, takes it for what is above the folder of nvcc, also
    where that is a link, or a script that starts the real one.
    """
    nvcc = shutil.which("nvcc")
    beside = [Path(nvcc).resolve().parents[1]] if nvcc else []
    folders = [*beside, places / "cuda", *sorted(places.glob("cuda-*"), reverse=True)]
    homes = [str(folder) for folder in folders if (folder / "include" / "cuda.h").exists()]
    return {"CUDA_HOME": homes[0]} if homes and "CUDA_HOME" not in os.environ else {}


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
