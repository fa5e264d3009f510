"""Where TensorRT's engines and timings are kept, since building them takes seconds to minutes.

``$XDG_CACHE_HOME/lenet-deploy/ort-tensorrt/KEY`` (``~/.cache`` by default), where KEY is the hash
of everything that an engine depends on; ``key.json`` beside the engine has it in words. An engine
is code, so a folder that somebody else may write to is refused.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lenet_runtime.errors import BackendUnavailable

_KEY, _LOCK = "key.json", "lock"


def root() -> Path:
    """The folder of all engines."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lenet-deploy" / "ort-tensorrt"


@contextlib.contextmanager
def opened(key: Mapping[str, Any]) -> Iterator[Path]:
    """The folder of the engines of `key`, which no other process has until the end.

    Raises:
        BackendUnavailable: it cannot be made or written to, or others may write to it.
    """
    text = json.dumps(key, indent=2, sort_keys=True) + "\n"
    folder = root() / hashlib.sha256(text.encode()).hexdigest()[:32]
    try:
        folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for path in (folder.parent, folder):
            path.mkdir(mode=0o700, exist_ok=True)
            _require_private(path)
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / _KEY).write_text(text)
            yield folder
    except OSError as error:
        raise BackendUnavailable(
            f"{folder}: expected a folder to keep TensorRT's engines in ({error}); "
            "set XDG_CACHE_HOME to one that can be written to"
        ) from error


def clear(folder: Path) -> bool:
    """Remove engines and timings; False where there are none."""
    found = [path for path in folder.iterdir() if path.name not in {_KEY, _LOCK}]
    for path in found:
        path.unlink()
    return bool(found)


def _require_private(path: Path) -> None:
    found = path.lstat()
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    if not own or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BackendUnavailable(
            f"{path}: expected a folder of this user's that nobody else can write to, found mode "
            f"{stat.filemode(found.st_mode)} of user {found.st_uid}; engines are code: remove it, "
            "or set XDG_CACHE_HOME to another folder"
        )
