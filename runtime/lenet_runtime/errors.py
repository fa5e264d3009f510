"""One small tree of errors: catch `DeployError` to catch them all.

Every message says where, what was expected, what was found, and what to do. An engine's own
exception is translated where we call it, with the original as ``__cause__``. A message is short and
printable whatever a foreign file put into it.
"""

import re
from collections.abc import Iterable

_MAX_MESSAGE, _MAX_LINE = 4000, 400  # characters
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def printable(text: object, limit: int = _MAX_MESSAGE, keep: str = "\n") -> str:
    """`text` as it may be shown and logged, whoever wrote it: at most `limit` characters.

    Control characters, characters that change the direction of writing, and halves of surrogate
    pairs become Python's escapes (``\\x1b``), but for those in `keep`. What is too long loses its
    middle, since an error says what is wrong at first and what to do at last. Doing it twice
    changes nothing.
    """
    whole = str(text)
    if len(whole) <= limit and whole.isprintable():
        return whole
    ends = (whole,) if len(whole) <= limit else (whole[:limit], whole[-limit:])
    shown = "".join(
        c if c.isprintable() or c in keep else repr(c)[1:-1] for end in ends for c in end
    )
    if len(ends) == 1 and len(shown) <= limit:
        return shown
    gap = " [...] "
    tail = max(0, limit - len(gap)) // 3
    head = max(0, limit - len(gap) - tail)
    return (shown[:head] + gap + shown[len(shown) - tail :])[:limit]


def closest(word: object, names: Iterable[str]) -> str:
    """The one of `names` that a misspelt `word` was meant to be; empty where none is near."""
    import difflib  # 5 ms, which only errors pay

    return next(iter(difflib.get_close_matches(str(word).lower(), list(names), 1)), "")


def expected_one_of(names: Iterable[str], found: object) -> str:
    """What an error says of a name that is none of `names`, and which of them was meant."""
    known = list(names)
    near = closest(found, known)
    return f"expected one of {', '.join(known)}, found {found!r}" + (
        f"; did you mean {near}?" if near else ""
    )


def first_line(error: BaseException) -> str:
    """What an engine's or PyTorch's own error says at first, for a message of ours to quote.

    Without colours, and without the advice to PyTorch's developers that follows; the class where
    it says nothing.
    """
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    if lines and "TorchScript interpreter" in lines[0]:  # its own traceback comes first
        lines = lines[-1:]
    return printable(lines[0], _MAX_LINE) if lines else type(error).__name__


class DeployError(Exception):
    """Base of every error that lenet-deploy raises on purpose.

    Args:
        message: What is said. It may quote files and engines, so it is made `printable` here.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message))


class ArtifactError(DeployError):
    """An artifact or checkpoint is missing, damaged, not trusted, or cannot be written."""


class InputError(DeployError):
    """The caller's images or arguments are not of the expected kind; nothing was run."""


class BackendUnavailable(DeployError):
    """The engine or the hardware that was asked for is not here; nothing ran instead of it."""


class DeviceMemoryError(DeployError):
    """The GPU has too little free memory for this call; smaller calls still work."""


class ParityError(DeployError):
    """An artifact answers unlike its reference, so it is not published, not loaded or not used."""
