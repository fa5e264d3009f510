"""Thousands of odd pictures: Python and its JavaScript twin make the same bytes of each."""

import os

import numpy as np
import pytest
from odd_pictures import odd_picture
from twin import differences, needs_node

DEFAULTS = {"TWIN_SEED": "0", "TWIN_COUNT": "1000"}
SEED, COUNT = (int(os.environ.get(name, default)) for name, default in DEFAULTS.items())
BATCH = 100


@needs_node
@pytest.mark.parametrize("batch", range(-(-COUNT // BATCH)))
def test_odd_pictures_have_the_same_bytes_in_python_and_in_javascript(batch):
    random = np.random.default_rng([SEED, batch])
    assert not list(differences([odd_picture(random) for _ in range(BATCH)]))
