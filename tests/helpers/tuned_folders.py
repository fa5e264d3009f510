"""Fixtures: folders of artifacts that were tuned by a pretended clock."""

import shutil

import numpy as np
import pytest

from lenet_bench import LatencyResult, tuning
from lenet_runtime.plans import plan

SIZES = (1, 8, 64)


@pytest.fixture
def artifacts(onnx_artifact, torchscript_artifact, tmp_path):
    """A folder of two artifacts of one network."""
    for artifact in (onnx_artifact, torchscript_artifact):
        shutil.copytree(artifact.path, tmp_path / artifact.manifest.format)
    return tmp_path


def measure_as(microseconds):
    """A stand-in for the clock: each engine's median by batch size; cutting triples it, where
    `microseconds` does not say."""

    def taken(name, size):
        if name in microseconds:
            return microseconds[name][size]
        return 3 * microseconds[name.partition(" in chunks of ")[0]][size]

    def measure(engines, batch_sizes):
        return [
            LatencyResult(name, size, (np.array([taken(name, size) * 1e3]),))
            for name in engines
            for size in batch_sizes
        ]

    return measure


ONNX_WINS_SMALL = measure_as(
    {
        "onnx on ort-cpu": {1: 10, 8: 50, 64: 500},
        "torchscript on torchscript": {1: 40, 8: 60, 64: 400},
    }
)


@pytest.fixture
def tuned(artifacts):
    """The folder with its plan: ONNX at 1 and 8, TorchScript at 64."""
    made, _, skipped = tuning.tune(artifacts, SIZES, ONNX_WINS_SMALL, trust=True)
    assert skipped == {}
    plan.write(artifacts, made)
    return artifacts


CUTTING_WINS = measure_as(
    {
        "onnx on ort-cpu": {8: 50, 64: 500, 128: 1000, 256: 2000},
        "onnx on ort-cpu in chunks of 32": {64: 400, 128: 800, 256: 1900},
        "onnx on ort-cpu in chunks of 64": {128: 900, 256: 1500},
        "torchscript on torchscript": {8: 90, 64: 900, 128: 1800, 256: 3600},
    }
)


@pytest.fixture
def cut(artifacts):
    """The folder with a plan of ONNX alone, each batch size cut in another way."""
    made, results, _ = tuning.tune(artifacts, (8, 64, 128, 256), CUTTING_WINS, trust=True)
    plan.write(artifacts, made)
    return artifacts, results
