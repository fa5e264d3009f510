"""Node: found, and started with `runner.mjs`, whose frames it answers through pipes."""

import contextlib
import functools
import os
import re
import select
import shutil
import subprocess
import time
import weakref
from collections.abc import Iterable
from pathlib import Path
from struct import pack, unpack
from typing import Any

from lenet_runtime.artifact.private import obstacle
from lenet_runtime.errors import BackendUnavailable, DeployError, first_line, printable

LEAST = 18  # the first with all that lenet.js needs, of those that are still maintained
SECONDS = 60.0  # for an answer, of which the slowest should take less than one
_RUNNER = Path(__file__).with_name("runner.mjs")
_HEADER = 12
_INSTALL = f"install Node.js {LEAST} or later (Debian: apt install nodejs)"


def find() -> tuple[str, str]:
    """The path of ``node``, and its version.

    Raises:
        BackendUnavailable: there is none, or too old a one.
    """
    path = shutil.which("node")
    if path is None:
        raise BackendUnavailable(f"node: expected it on PATH, found none; {_INSTALL}")
    version = _version(path, Path(path).stat().st_mtime_ns)
    if int(version.partition(".")[0]) < LEAST:
        raise BackendUnavailable(f"node: expected version {LEAST}, found {version}; {_INSTALL}")
    return path, version


@functools.cache
def _version(path: str, changed: int) -> str:
    """The version of the program at `path`, asked for once for each time of its change."""
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, check=False, timeout=SECONDS,
            env=_environment(),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendUnavailable(
            f"node: {path} does not run ({first_line(error)}); {_INSTALL}"
        ) from error
    match = re.fullmatch(r"v(\d+\.\d+\.\d+)\S*", done.stdout.strip())
    if match is None:
        said = printable((done.stdout + done.stderr).strip(), 100) or "nothing"
        raise BackendUnavailable(f"node: expected {path} to be Node.js, found {said}; {_INSTALL}")
    return match[1]


def _environment() -> dict[str, str]:
    """This process's, without what would let Node run other code first."""
    return {name: value for name, value in os.environ.items() if not name.startswith("NODE_")}


class Child:
    """A process of Node. It ends with this object at the latest.

    Nothing of it is for several threads at once.

    Raises:
        BackendUnavailable: it cannot be started.
    """

    def __init__(self, path: str) -> None:
        try:
            process = subprocess.Popen(
                [path, "--no-warnings", str(_RUNNER)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                cwd=_RUNNER.parent, env=_environment(),
                start_new_session=True,  # a Ctrl-C is for this process, which ends the other
            )  # fmt: skip
        except OSError as error:
            advice = obstacle(str(error.strerror)) or "see to what the system says"
            raise BackendUnavailable(
                f"node: {path} cannot be started ({error.strerror}); {advice}"
            ) from error
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self._process = process
        self._in, self._out = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(process.stderr.fileno(), False)
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(self._out, select.POLLIN)
        self._writable.register(self._in, select.POLLOUT)
        self.end = weakref.finalize(self, _end, process, os.getpid())
        self.end.atexit = False  # sessions are closed then, after the calls that are under way

    def ask(self, parts: Iterable[Any]) -> bytes:
        """Send these bytes, and return what is answered.

        Raises:
            DeployError: it failed, or ended, or gave no answer in `SECONDS`, or one that is no
                frame. It is ended then.
        """
        deadline = time.monotonic() + SECONDS
        try:
            for part in parts:
                self._send(memoryview(part).cast("B"), deadline)
            magic, failed, size = unpack("<4sII", self._receive(_HEADER, deadline))
            if magic != b"LNET":
                raise DeployError(f"node: expected a frame, found {magic!r}; {_AGAIN}")
            answer = self._receive(size, deadline)
            if failed:
                raise DeployError(f"node: {answer.decode(errors='replace')}")
        except BaseException:  # a Ctrl-C, too: what comes later would answer an earlier question
            self.end()
            raise
        return answer

    def _send(self, data: memoryview, deadline: float) -> None:
        while data:
            try:
                data = data[os.write(self._in, data) :]
            except BlockingIOError:
                self._wait(self._writable, deadline)
            except BrokenPipeError:
                break  # it may have said why: reading tells

    def _receive(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._wait(self._readable, deadline)
            part = os.read(self._out, size - len(data))
            if not part:
                raise DeployError(f"node: the process ended ({self._last_words()}); {_AGAIN}")
            data += part
        return bytes(data)

    def _wait(self, pipe: select.poll, deadline: float) -> None:
        if not pipe.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
            raise DeployError(f"node: expected an answer in {SECONDS:g} s, found none; {_AGAIN}")

    def _last_words(self) -> str:
        """How it ended, and what it wrote to stderr at last."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        assert self._process.stderr
        lines = (self._process.stderr.read() or b"").decode(errors="replace").strip().splitlines()
        said = f", {lines[-1][:200]}" if lines else ""
        return f"exit code {self._process.returncode}{said}"


_AGAIN = "load the artifact again"


def _end(process: "subprocess.Popen[bytes]", owner: int) -> None:
    """End a child of the process `owner`: by the end of its input, or by force."""
    for pipe in (process.stdin, process.stdout, process.stderr):
        assert pipe
        pipe.close()
    if os.getpid() != owner:  # a fork's copy, to which the child does not belong
        return
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def length(data: Any) -> bytes:
    """The four bytes before a file."""
    return pack("<I", len(data))
