"""Fresh processes for what a test cannot see in its own."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def python(code, *arguments, exits=0, **environment):
    """Run `code` in a fresh Python, which must end with this exit code.

    Returns the finished process, whose output is text.
    """
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, check=False, env=os.environ | environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == exits, done.stdout + done.stderr
    return done


@contextlib.contextmanager
def started(code, *arguments):
    """A fresh Python that runs `code` meanwhile, its stdout a pipe; it is killed at the end."""
    words = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()
