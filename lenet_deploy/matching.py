"""Which files an argument of a command names: a file, a folder, or a glob."""

import glob
from collections.abc import Callable
from pathlib import Path

from lenet_runtime.errors import InputError


def match(argument: str, listed: Callable[[str], bool]) -> list[Path]:
    """The files that an argument names, sorted.

    Args:
        argument: A file; a folder, which stands for its own files, not for its subfolders'; or a
            glob, in which ``**`` descends into folders.
        listed: Says of a file's name whether a folder's listing includes it.

    Raises:
        InputError: It names no file.
    """
    try:
        path = Path(argument).expanduser()
    except RuntimeError:  # there is no home folder
        path = Path(argument)
    if path.is_dir():
        files = [file for file in path.iterdir() if listed(file.name) and file.is_file()]
        missing = "expected pictures, found none in this folder"
    elif path.exists() or not glob.has_magic(argument):
        files, missing = [path] if path.exists() else [], "no such file"
    else:
        # Path.glob takes no absolute pattern.
        names = glob.iglob(str(path), recursive=True)  # noqa: PTH207
        files, missing = [Path(name) for name in names if Path(name).is_file()], "no file matches"
    if not files:
        raise InputError(missing)
    return sorted(files)
