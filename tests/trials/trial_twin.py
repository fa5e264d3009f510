"""Thousands of odd pictures: Python and its JavaScript twin make the same bytes of each."""

import os

import numpy as np
import pytest
from odd_pictures import odd_picture
from twin import differences, needs_node

SEED, COUNT, BATCH = int(os.environ.get("TWIN_SEED", 0)), int(os.environ.get("TWIN_COUNT", 1000)), 100


@needs_node
@pytest.mark.parametrize("batch", range(-(-COUNT // BATCH)))
def test_odd_pictures_have_the_same_bytes_in_python_and_in_javascript(batch):
    random = np.random.default_rng([SEED, batch])
    assert not list(differences([odd_picture(random) for _ in range(BATCH)]))
