"""Keeping torch's notes to its own developers off the user's terminal; errors still raise."""

import contextlib
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

# The second notes, on machines with a CUDA toolkit and no GPU, that it found just that; torch
# gives it a level of its own.
_LOGGERS = ("torch", "torch.utils.cpp_extension")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings, torch's loggers and what this thread prints on stderr, for a block.

    torch.export prints the graph that it came to before it raises, past every logger.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(_OthersOnly(sys.stderr)):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _OthersOnly:
    """A stream that takes what other threads write, such as the one that draws a progress bar."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._silent = stream, threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() != self._silent:
            self._stream.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
