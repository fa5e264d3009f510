"""The cuda format's kernels in the emulator: right, without races, and within their bounds."""

import fused
import numpy as np
import pytest
import torch
from fused import PRECISIONS, Failure, kernels, packed
from samples import digits, eager, noise, raw_digits

from lenet_deploy.training.model import Net
from lenet_runtime.images.preprocess import Preprocessing, to_batch
from lenet_runtime.parity import NOISE, TOLERANCES, compare

ONE, FEW, MANY = "lenet_one", "lenet_few", "lenet_many"
# Around the tiles of every kernel (1, 4, 8, 16 and 32 images), with less work for the slow ones.
SIZES = {ONE: (1, 2, 7), FEW: (1, 7, 8, 9), MANY: (2, 47, 48, 49, 64)}
CASES = [(name, size) for name, sizes in SIZES.items() for size in sizes]


def mixed(count):
    """Digits and noise in turn."""
    images = digits(count)
    images[1::2] = noise(count // 2, seed=count)
    return images


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("name", "size"), CASES)
def test_they_answer_as_eager_does(net, precision, name, size):
    images = mixed(size)
    found = kernels(precision)(name, packed(net, precision), images, seed=size)
    result = compare(found, eager(net, images), TOLERANCES[precision], inputs=NOISE)
    assert result.ok, result.reason


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", [digits, noise])
def test_they_answer_as_eager_does_in_a_large_batch(net, precision, kind):
    images = kind(257)
    found = kernels(precision)(MANY, packed(net, precision), images)
    result = compare(found, eager(net, images), TOLERANCES[precision])
    assert result.ok or kind is noise, result.reason
    assert result.worst_share <= 1


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_image_gets_the_same_bits_from_every_kernel_and_at_every_place(net, precision):
    images, weights, run = mixed(35), packed(net, precision), kernels(precision)
    expected = run(MANY, weights, images)
    turned = np.ascontiguousarray(images[::-1])
    assert np.array_equal(run(MANY, weights, turned, seed=5)[::-1], expected)
    assert np.array_equal(run(MANY, weights, images[3:20].copy()), expected[3:20])
    assert np.array_equal(run(FEW, weights, images[:11].copy()), expected[:11])
    assert np.array_equal(run(ONE, weights, images[:3].copy()), expected[:3])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("name", "size"), [(ONE, 2), (FEW, 9), (MANY, 33)])
def test_raw_digits_give_the_same_bits(net, precision, name, size):
    weights, run = packed(net, precision), kernels(precision)
    pixels = raw_digits(size)
    pixels[0] = np.arange(784).reshape(28, 28) % 256  # every value of a pixel
    images = to_batch(pixels, Preprocessing())
    expected = run(MANY, weights, images)
    assert np.array_equal(run(name + "_raw", weights, pixels), expected)


def test_raw_digits_follow_the_artifacts_own_preprocessing(net):
    other = Preprocessing(mean=0.4, std=0.7)
    pixels, run = raw_digits(2), kernels("fp32")
    expected = run(ONE, packed(net, "fp32"), to_batch(pixels, other))
    assert np.array_equal(run(ONE + "_raw", packed(net, "fp32", other), pixels), expected)


def test_fp32_is_as_near_to_float64_as_eager_is(net):
    images = mixed(32)
    found = kernels("fp32")(MANY, packed(net, "fp32"), images)
    exact = fused.exact(net, images)
    ours, theirs = np.abs(found - exact).max(), np.abs(eager(net, images) - exact).max()
    assert ours <= 2 * theirs


@pytest.mark.parametrize("precision", ["tf32", "fp16", "bf16"])
def test_tensor_core_kernels_round_weights_and_activations_and_nothing_else(net, precision):
    """Held against the same network in NumPy and float64, rounded at the same places."""
    images, states = mixed(16), {k: v.numpy() for k, v in net.state_dict().items()}
    x = images
    for name, layer in (("conv1", _convolve), ("conv2", _convolve)):
        x = layer(fused.rounded(x, precision), states, name, precision)
    x = x.reshape(len(x), -1)
    for name in ("fc1", "fc2", "fc3"):
        weight = fused.rounded(states[f"{name}.weight"], precision).astype(np.float64)
        x = fused.rounded(x.astype(np.float32), precision) @ weight.T + states[f"{name}.bias"]
        x = np.maximum(x, 0) if name != "fc3" else x
    found = kernels(precision)(MANY, packed(net, precision), images)
    # A sum that is rounded to float32 on the way may round an activation to its other neighbour.
    unit = {"bf16": 2.0**-8}.get(precision, 2.0**-11)
    assert np.abs(found - x).max() <= unit * np.abs(x).max() / 2


def _convolve(x, states, name, precision):
    weight = torch.tensor(fused.rounded(states[f"{name}.weight"], precision)).double()
    bias = torch.tensor(states[f"{name}.bias"]).double()
    sums = torch.nn.functional.conv2d(torch.tensor(x).double(), weight, bias)
    return torch.max_pool2d(torch.relu(sums), 2).numpy().astype(np.float32)


def networks():
    def made(change):
        torch.manual_seed(7)
        net = Net().eval()
        with torch.no_grad():
            change(net)
        return net.requires_grad_(False)

    def big_biases(net):
        for parameter in net.parameters():
            if parameter.ndim == 1:
                parameter.normal_(0, 3)

    def negative(net):
        for parameter in net.parameters():
            parameter.abs_().neg_()

    def dead(net):
        net.conv1.weight[2:4], net.conv1.bias[2:4] = 0, -5
        net.conv2.weight[5], net.conv2.bias[5] = 0, -5
        net.fc1.weight[7::3] = 0

    changes = {"random": lambda net: None, "big biases": big_biases, "negative": negative}
    return [pytest.param(made(f), id=name) for name, f in (changes | {"dead": dead}).items()]


@pytest.mark.parametrize("module", networks())
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_other_networks(module, precision):
    images, weights = mixed(9), packed(module, precision)
    for name in (FEW, MANY):
        found = kernels(precision)(name, weights, images)
        result = compare(found, eager(module, images), TOLERANCES[precision], inputs=NOISE)
        assert result.worst_share <= 1, result.reason


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", fused.NAMES)
def test_every_barrier_is_needed_and_missed(net, precision, name):
    """The detector of races can fail: it does without any one barrier, and so none is idle."""
    run, weights = kernels(precision), packed(net, precision)
    count = run.shapes[name][0]
    images = raw_digits(count) if name.endswith("_raw") else noise(count)
    run(name, weights, images)
    of_block, of_warp = run.barriers
    assert of_block >= 3
    lost = [{"lost_block": i} for i in range(of_block)] + [{"lost_warp": i} for i in range(of_warp)]
    for barrier in lost:
        with pytest.raises(Failure, match=r"race|before it is written"):
            run(name, weights, images, **barrier)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_nan_reaches_every_logit_that_it_reaches_in_eager(net, precision):
    """ReLU and pooling pass NaN on, and rows and columns that no window reaches do not matter."""
    images = noise(4)
    images[0, 0, 5, 7] = images[1, 0, 29, 29] = np.nan
    images[2, 0, 30:], images[3, 0, :, 30:] = np.nan, np.nan
    clean = np.nan_to_num(images, nan=0.5)
    weights, run = packed(net, precision), kernels(precision)
    for name in (ONE, FEW, MANY):
        found = run(name, weights, images)
        assert np.array_equal(np.isnan(found), np.isnan(eager(net, images)))
        # Where the convolutions' unused corner holds NaN, the answer is that of any other value.
        assert np.array_equal(found[2:], run(name, weights, clean)[2:])


@pytest.mark.parametrize("name", [ONE, FEW, MANY])
def test_fp16_takes_what_is_beyond_its_range_for_the_end_of_it(net, name):
    images = noise(3)
    images[0, 0, 3, 3], images[1, 0, 8, 8], images[2] = np.inf, -3e38, 65504
    capped = np.clip(images, -65504, 65504)
    weights, run = packed(net, "fp16"), kernels("fp16")
    found = run(name, weights, images)
    assert np.isfinite(found).all()
    assert np.array_equal(found, run(name, weights, capped))


@pytest.mark.parametrize("seed", range(2, 6))
def test_the_order_in_which_threads_run_does_not_matter(net, seed):
    images, weights = noise(8), packed(net, "fp16")
    for name in (ONE, FEW):
        count = 2 if name == ONE else 8
        run = kernels("fp16")
        expected = run(name, weights, images[:count].copy())
        assert np.array_equal(run(name, weights, images[:count].copy(), seed=seed), expected)


def test_a_wrong_fragment_is_seen(net):
    """Two registers of conv2's weights in each other's place are beyond the tolerance."""
    words = np.frombuffer(packed(net, "fp16"), np.uint32).copy()
    start = 8 * 32 + 16  # conv1's registers and biases
    lanes = words[start : start + 128].reshape(32, 4)
    lanes[:, [0, 1]] = lanes[:, [1, 0]]
    images = digits(4)
    found = kernels("fp16")(FEW, words.tobytes(), images)
    assert not compare(found, eager(net, images), TOLERANCES["fp16"]).ok
