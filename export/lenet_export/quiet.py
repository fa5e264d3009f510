"""Keeping torch's notes to its own developers off the user's terminal; errors still raise."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

# The second notes, on machines with a CUDA toolkit and no GPU, that it found just that; torch
# gives it a level of its own.
_LOGGERS = ("torch", "torch.utils.cpp_extension")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings and torch's loggers below ERROR for the length of a block."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
