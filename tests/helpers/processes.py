"""Fresh processes for what a test cannot see in its own."""

import os
import subprocess
import sys


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
