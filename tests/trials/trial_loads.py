"""Machines that stand in the way: what loads there loads, and the rest says what would help."""

import re
import subprocess
import sys

import pytest

CODE = """
import ctypes, os, resource, sys
import lenet_runtime

way, path = sys.argv[1:]
if way == "write-execute":
    assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0  # PR_SET_MDWE
elif way == "file size":
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
elif way == "descriptors":
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    with lenet_runtime.load(path, trust=True) as session:
        print("loaded by", session.backend)
except lenet_runtime.DeployError as error:
    print(type(error).__name__, error)
"""
# Before Python starts, inside mounts of its own.
MOUNTS = {
    "noexec": "mount -t tmpfs -o noexec tmpfs $TMPDIR",
    "full": "mount -t tmpfs -o size=64k tmpfs $TMPDIR",
    "no /proc": "mount -t tmpfs tmpfs /proc",
    "neither /proc nor exec": "mount -t tmpfs tmpfs /proc; mount -t tmpfs -o noexec tmpfs $TMPDIR",
}
LOADS = "loaded by"
NO_PACKAGE = "BackendUnavailable .*bytes cannot be put into a temporary folder"
OUTCOMES = {
    ("native", "write-execute"): LOADS,
    ("native", "file size"): f"{NO_PACKAGE}.*; allow larger files with ulimit -f",
    ("native", "descriptors"): "ArtifactError .*Too many open files.*ulimit -n",
    ("native", "noexec"): LOADS,
    ("native", "full"): LOADS,
    ("native", "no /proc"): LOADS,
    ("native", "neither /proc nor exec"): "BackendUnavailable .* not mounted noexec",
    ("onnx", "write-execute"): LOADS,
    ("onnx", "file size"): LOADS,
    ("onnx", "descriptors"): "(ArtifactError|BackendUnavailable) .*",
    ("torchscript", "write-execute"): "BackendUnavailable .*; .*MemoryDenyWriteExecute=.* native",
    ("torch-compile", "file size"): f"{NO_PACKAGE}.*; allow larger files with ulimit -f",
    ("torch-compile", "noexec"): "BackendUnavailable .* not mounted noexec",
    ("torch-compile", "full"): f"{NO_PACKAGE} .No space left.*set TMPDIR to a folder",
    ("torch-compile", "no /proc"): "BackendUnavailable .*mount /proc$",
}  # fmt: skip


@pytest.mark.parametrize(
    ("format", "way"),
    [
        pytest.param(*case, marks=pytest.mark.slow if "torch-compile" in case else ())
        for case in OUTCOMES
    ],
)
def test_what_stands_in_the_way_is_said(exported, tmp_path, monkeypatch, format, way):
    command = [sys.executable, "-c", CODE, way, str(exported(format).path)]
    if way in MOUNTS:
        command = ["unshare", "--mount", "sh", "-c", f'{MOUNTS[way]}; exec "$@"', "sh", *command]
        if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
            pytest.skip("this user may not mount anything")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.match(OUTCOMES[format, way], done.stdout.strip()), done.stdout
