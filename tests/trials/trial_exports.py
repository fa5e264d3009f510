"""Exports in environments without room for files, without a home and without a name."""

import os
import re
import subprocess
import sys

import pytest

EXPORT = """
import os, resource, sys
import torch, lenet_export
from lenet_deploy.training.model import Net
from lenet_runtime.errors import DeployError
{}
for format in ("onnx", "torchscript", "native"):
    try:
        lenet_export.export(Net(), format, f"{{sys.argv[1]}}-{{format}}", batch_sizes=[2])
    except DeployError as error:
        print("DeployError:", error)
    else:
        print("exported")
"""
NO_SPACE = "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
NO_TMP = "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/proc/nowhere']"
NOBODY = """
import pwd
def unknown(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
os.getuid, pwd.getpwuid = lambda: 100123, unknown
"""


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [(NO_SPACE, "DeployError: .*no folder for temporary files .*set TMPDIR"),
     (NO_TMP, "DeployError: .*no folder for temporary files .*set TMPDIR"), (NOBODY, "exported")],
    ids=["no file grows", "no temporary folder", "nobody, no home"],
)  # fmt: skip
def test_each_environment_ends_in_an_artifact_or_in_a_deploy_error(tmp_path, prepare, expected):
    kept = {"PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR"}
    done = subprocess.run(
        [sys.executable, "-c", EXPORT.format(prepare), tmp_path / "a"],
        env={name: value for name, value in os.environ.items() if name in kept},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcomes = done.stdout.splitlines()
    assert len(outcomes) == 3, done.stdout
    assert all(re.match(expected, outcome) for outcome in outcomes), done.stdout
    assert len(list(tmp_path.iterdir())) == outcomes.count("exported")
