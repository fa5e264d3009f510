"""Winograd's rounding: which networks cannot bear it, and the direct convolutions they get."""

import functools

import numpy as np
import pytest
import torch
from native_c import any_compiler, library, need_level, other_net, seeded, sequential
from random_networks import SHAPES, Mould, answers, campaign, random_network, shares
from samples import digits, noise

from lenet_export.formats.native import winograd
from lenet_export.network import layers
from lenet_export.network.reference import Reference
from lenet_runtime.parity import TOLERANCES, check_parity, compare, parity_batches


@functools.cache
def mould(shape, direct, level="x86-64-v4"):
    return Mould(shape, direct, any_compiler(), "-O1", level=level)


@pytest.mark.parametrize("down", [winograd.PLAIN, winograd.F2, winograd.F4])
def test_the_transforms_make_a_convolution(down):
    rng = np.random.default_rng(0)
    filters, inputs, outputs = down
    pixels, taps = rng.standard_normal(inputs.shape[1]), rng.standard_normal(3)
    found = outputs @ ((filters @ taps) * (inputs @ pixels))
    np.testing.assert_allclose(found, np.correlate(pixels, taps, "valid"), atol=1e-13)


def test_ordinary_networks_are_winograds(net):
    for module in (net, other_net(5, 7, 120, 84), other_net(1, 16)):
        shares = winograd.shares_of_tolerance(layers.read(module, (1, 32, 32)))
        assert 0 < min(shares) <= max(shares) < winograd.LIMIT
        assert winograd.direct(layers.read(module, (1, 32, 32)), "fp32") == (False, False)


def test_the_estimate_covers_the_error(net):
    """What Winograd adds to the error of direct convolutions, for two networks."""
    images = np.concatenate([noise(200), digits()])
    for network in (layers.read(net, (1, 32, 32)), random_network(np.random.default_rng(5))[0]):
        exact = answers(network, images, dtype=torch.float64)
        plain = shares(mould(SHAPES[0], (True, True)).run(network, images), exact).max()
        estimates = winograd.shares_of_tolerance(network)
        for estimate, direct in zip(estimates, [(False, True), (True, False)], strict=True):
            error = shares(mould(SHAPES[0], direct).run(network, images), exact).max()
            assert error < plain + 3 * estimate


@pytest.mark.parametrize("level", ["x86-64-v4", "x86-64-v3", "generic"])
@pytest.mark.parametrize("direct", [(True, False), (False, True), (True, True)])
def test_direct_kernels_answer_as_eager_does(net, level, direct):
    need_level(level)
    network = layers.read(net, (1, 32, 32))
    reference = Reference(net)
    native = mould(SHAPES[0], direct, level)
    native.fill(network)
    batches = parity_batches(digits(), (1, 33))
    run = native.library.run
    check_parity(run, reference.eager, reference.exact, batches, "fp32").require(str(direct))
    images = noise(35)
    np.testing.assert_array_equal(run(images)[5:6], run(images[5:6]))
    images[1], images[2, 0, 3, 3] = np.nan, np.inf
    assert np.isnan(run(images)[1]).all()
    np.testing.assert_array_equal(run(images)[3:], run(noise(35))[3:])


def test_a_network_that_winograd_spoils_is_direct():
    """Filters of one negative tap: ReLU makes 0 of all that they answer, but not of its error."""
    module = seeded(sequential)
    module[3].weight.zero_()[:, 0, 1, 1] = -1000
    module[3].bias.zero_()
    network, images = layers.read(module, (1, 32, 32)), np.maximum(noise(20), 0)
    expected = answers(network, images)
    spoilt = mould(SHAPES[0], (False, False)).run(network, images)
    assert not compare(spoilt, expected, TOLERANCES["fp32"]).ok
    assert winograd.direct(network, "fp32")[1]
    found = library(module, any_compiler(), "x86-64-v4").run(images)
    assert compare(found, expected, TOLERANCES["fp32"]).ok


def test_random_networks_keep_the_tolerance():
    """A bounded piece of what ``python tests/helpers/random_networks.py SEED SECONDS`` does."""
    counts = campaign(3, mould, networks=25, shapes=SHAPES[:1])
    assert counts["rows"] > 4000
    assert counts["direct conv2"] > 0
    assert counts["over"] == 0
    assert counts["refused"] <= 2
