"""Paths to bytes that were hashed, for engines that load a file by its path alone.

Nobody but this user can write there, so the engine reads what was hashed. What of this machine may
stand in the way of that is told apart from a fault of the artifact, which exporting again mends.
"""

import contextlib
import io
import itertools
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lenet_runtime.artifact.files import TOO_MANY_OPEN
from lenet_runtime.errors import BackendUnavailable

_TMPDIR = "set TMPDIR to a folder that can be written and has space"
_ULIMIT_F = "allow larger files with ulimit -f"
_NOEXEC = (
    "programs may not run from where it lies, or this process may not make memory executable: set "
    "TMPDIR to a folder that is not mounted noexec; under MemoryDenyWriteExecute= take the format "
    "native or onnx"
)
_WRITE_EXECUTE = (
    "this process may not make memory executable (MemoryDenyWriteExecute=, PR_SET_MDWE): run it "
    "without that, or take the format native or onnx"
)
# What loaders say where the machine stands in the way, and what then helps.
_OBSTACLES = {
    "executable stack": _WRITE_EXECUTE,
    "could not create a primitive": _WRITE_EXECUTE,
    "failed to map segment": _NOEXEC,
    "No space left": _TMPDIR,
    "Read-only file system": _TMPDIR,
    "Failed to create temporary directory": _TMPDIR,
    "File too large": _ULIMIT_F,
    "Too many open files": TOO_MANY_OPEN,
}
_slashes = itertools.count(1)


def obstacle(reason: str) -> str:
    """What helps where a loader's words say that the machine is in the way; else empty."""
    return next((advice for words, advice in _OBSTACLES.items() if words in reason), "")


@contextlib.contextmanager
def private_folder(size: int) -> Iterator[Path]:
    """A new folder for `size` bytes that only this user may enter; it goes with the block.

    Raises:
        BackendUnavailable: none can be made, or what the block writes into it does not fit.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="lenet-runtime-") as folder:
            yield Path(folder)
    except OSError as error:
        advice = _ULIMIT_F if _is_limited_below(size) else obstacle(str(error.strerror)) or _TMPDIR
        raise BackendUnavailable(
            f"{size} bytes cannot be put into a temporary folder ({error.strerror}), which this "
            f"engine needs to load them; {advice}"
        ) from error


def _is_limited_below(size: int) -> bool:
    """Whether this process may not write files of `size` bytes, not even in memory."""
    import resource  # where there is no such limit, this cannot be asked for

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return 0 <= limit < size


@contextlib.contextmanager
def private_file(data: bytes, name: str) -> Iterator[str]:
    """A path to `data`: in memory where the system can, else in a `private_folder`.

    Raises:
        BackendUnavailable: see `private_folder`.
    """
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(_in_memory(data, name))
        except (AttributeError, OSError):  # not Linux, not allowed, or no /proc
            folder = stack.enter_context(private_folder(len(data)))
            path = str(folder / name)
            Path(path).write_bytes(data)
        yield path


@contextlib.contextmanager
def _in_memory(data: bytes, name: str) -> Iterator[str]:
    # In one step of the interpreter: see `lenet_runtime.artifact.files`.
    (raw,) = map(partial(io.FileIO, mode="w"), map(os.memfd_create, [name]))
    with io.BufferedWriter(raw) as file:
        file.write(data)
        file.flush()
        # The loader takes a path that it has seen for the library that it found there then, and
        # descriptors are used again; so each path is another spelling.
        path = f"/proc/self/fd{'/' * next(_slashes)}{file.fileno()}"
        os.stat(path)  # noqa: PTH116  pathlib would drop the slashes
        yield path
