"""A bias is added last: a large one costs its sum a single rounding, in every kind of layer."""

import numpy as np
import pytest
from native_c import any_compiler, levels_here, library, seeded, sequential
from samples import noise
from torch import nn

from lenet_export.network.reference import Reference

BIAS = 1e4
ULP = np.spacing(np.float32(BIAS))  # about 0.001, where the products are about 1


def _averaged():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 5), nn.AvgPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(845, 10),
    )  # fmt: skip


# The module, and the position of the layer whose bias is large.
NETWORKS = {
    "conv2": (sequential, 3),
    "dense": (lambda: sequential(6, 16, (90,)), 7),
    "5x5, averages": (_averaged, 2),
}


@pytest.mark.parametrize(("make", "place"), NETWORKS.values(), ids=NETWORKS)
def test_a_large_bias_costs_one_rounding(make, place):
    module = seeded(make)
    module[place].bias.fill_(BIAS)
    for layer in module[place + 1 :]:
        if isinstance(layer, nn.Linear):  # each of its outputs is one of its inputs
            layer.bias.zero_()
            layer.weight.zero_()[range(len(layer.weight)), range(len(layer.weight))] = 1
    native = library(module, any_compiler(), levels_here()[-1], "-O0")
    error = np.abs(native.run(noise(8)) - Reference(module).exact(noise(8)))
    assert error.max() < 0.51 * ULP
