"""Thousands of odd pictures: Python and its JavaScript twin make the same bytes of each."""

import os
import shutil
import subprocess

import numpy as np
import pytest
from odd_pictures import odd_picture
from twin import MODULE, differences, needs_node

DEFAULTS = {"TWIN_SEED": "0", "TWIN_COUNT": "1000"}
SEED, COUNT = (int(os.environ.get(name, default)) for name, default in DEFAULTS.items())
BATCH = 100
TSC = """
    npx --yes --package typescript@7.0.2 tsc --noEmit --allowJs --checkJs --strict --target es2022
    --module es2022 --moduleResolution bundler --lib es2023,dom
"""


@needs_node
@pytest.mark.parametrize("batch", range(-(-COUNT // BATCH)))
def test_odd_pictures_have_the_same_bytes_in_python_and_in_javascript(batch):
    random = np.random.default_rng([SEED, batch])
    assert not list(differences([odd_picture(random) for _ in range(BATCH)]))


@pytest.mark.skipif(shutil.which("npx") is None, reason="npm is not installed")
def test_types_in_the_comments_of_the_twin_are_right():
    """TypeScript comes from npm, and is not needed otherwise."""
    command = [*TSC.split(), str(MODULE)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
