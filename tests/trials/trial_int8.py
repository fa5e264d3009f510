"""Each of int8's kernels under sanitizers, which take a minute to compile."""

import int8_levels
import int8_reference
import numpy as np
import pytest
from native_c import COMPILERS, DRIVER, calibration, drive, need, other_net, shell, write
from samples import digits, noise

from lenet_export.network import layers, quantize

SANITIZE = ("-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("sizes", [None, (5, 7, 120, 84), (11, 4, 5)])
def test_sanitizers_find_nothing(net, compiler, sizes):
    """No read or write beside an array, nothing undefined; and the answers are the same."""
    need(compiler)
    module = other_net(*sizes) if sizes else net
    images = np.concatenate([digits(40), noise(20, scale=1e4)])
    network = layers.read(module, (1, 32, 32))
    quantized = quantize.quantize(network, quantize.calibrate(network, calibration()))
    expected = int8_reference.logits(quantized, images)
    folder = write(int8_levels.sources(module) | {"main.c": DRIVER})
    shell(compiler, *SANITIZE, "-c", "lenet.c", cwd=folder)
    for level in int8_levels.here():
        entry = f"-Dlenet_run=run_at_{level.name.upper()}"
        shell(compiler, *SANITIZE, entry, "-o", "main", "main.c", "lenet.o", cwd=folder)
        np.testing.assert_array_equal(drive(["./main"], images, folder), expected)
