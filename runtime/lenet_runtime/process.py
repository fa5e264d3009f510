"""What becomes of open sessions where their process forks, and when its interpreter ends."""

import atexit
import os
import sys
import time
import weakref
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lenet_runtime.session import Session

_EXIT_SECONDS = 2.0  # longest wait for calls that are under way when the interpreter ends
_sessions: "weakref.WeakSet[Session]" = weakref.WeakSet()


def register(session: "Session") -> None:
    """Look after a session for as long as it lives."""
    _sessions.add(session)


def _after_fork() -> None:
    for session in list(_sessions):
        session.after_fork()


def _at_exit() -> None:
    """Close all sessions, and wait for the calls that other threads have in an engine.

    A daemon thread that comes back from C++ when the interpreter has ended aborts the process.
    """
    for session in list(_sessions):
        session.close()
    end = time.monotonic() + _EXIT_SECONDS
    while any(map(_is_in_engine, sys._current_frames().values())) and time.monotonic() < end:
        time.sleep(0.001)


def _is_in_engine(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("lenet_runtime.backends."):
            return True
        frame = frame.f_back
    return False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
# Handlers that users register later run before this one, and are still answered.
atexit.register(_at_exit)
