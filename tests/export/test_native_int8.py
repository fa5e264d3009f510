"""native in int8: kernels that equal integers in NumPy, the tolerance, and the calibration."""

import copy
import json
import math

import int8_levels
import int8_reference
import numpy as np
import pytest
import torch
from cli_helper import run
from native_c import (
    COMPILERS,
    any_compiler,
    calibration,
    library,
    other_net,
    request,
    seeded,
    sequential,
)  # fmt: skip
from samples import digits, eager, noise

import lenet_export
from lenet_deploy.training import bundle, data
from lenet_deploy.training.model import Net
from lenet_export.formats.native import write_source
from lenet_export.network import layers, quantize
from lenet_runtime import load
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.parity import TOLERANCES, compare, parity_batches


def quantized_of(module):
    network = layers.read(module, (1, 32, 32))
    return quantize.quantize(network, quantize.calibrate(network, calibration()))


@pytest.fixture(scope="module")
def images():
    """Digits, noise, noise far beyond every range, and what is quiet."""
    quiet = np.zeros((2, 1, 32, 32), np.float32)
    quiet[1] = np.float32(1e-40)
    return np.concatenate([digits(), noise(20), noise(9, scale=1e4), noise(3, scale=1e37), quiet])


@pytest.fixture(scope="module")
def quantized(net):
    return quantized_of(net)


@pytest.fixture(scope="module", params=[level.title for level in int8_levels.here()])
def int8(request, net):
    """Each of the kernels."""
    return int8_levels.answers(net, any_compiler())[request.param]


def check_every_kernel(module, images, *arguments, **options):
    """Equal to integers in NumPy, in batches that begin and end anywhere in a tile and a chunk."""
    expected = int8_reference.logits(quantized_of(module), images)
    for title, answer in int8_levels.answers(module, *arguments, **options).items():
        np.testing.assert_array_equal(answer(images), expected, err_msg=title)
        for size in (1, 2, 3, 5):
            np.testing.assert_array_equal(answer(images[:size]), expected[:size], err_msg=title)


@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize(
    ("isa", "flags"),
    [
        ("x86-64-v4", ()),
        ("generic", ("-DLENET_PLAIN_C",)),
        ("x86-64-v4", ("-O3", "-march=native", "-std=gnu11")),
    ],
)
def test_every_kernel_equals_integers_in_numpy(net, images, cc, isa, flags):
    """Not even where the compiler may fuse products and sums, or has no vectors, a bit differs."""
    check_every_kernel(net, images, cc, *flags, isa=isa)


@pytest.mark.parametrize("sizes", [(1, 16), (5, 7, 120, 84), (8, 33, 17), (11, 4, 5)])
def test_other_sizes_equal_integers_in_numpy(sizes, images):
    """Odd channels, several blocks of outputs, layers that end in the middle of a register."""
    check_every_kernel(other_net(*sizes), images, any_compiler(), "-O0")


def test_sums_of_the_largest_codes_are_exact():
    """Where a sum of two products, as of VPMADDUBSW, exceeds 16 bits; and the largest transforms
    of conv2: filters of one sign on activations that are all at their end."""
    module = seeded(lambda: sequential(6, 16, (120, 84)), seed=5)
    for parameter in module.parameters():
        parameter.data.sign_()
    module[3].weight.data[:4] = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None, None]
    module[3].bias.data.fill_(0)
    images = np.concatenate([digits(20), noise(20, scale=1e4), noise(3, scale=1e37)])
    conv2 = quantized_of(module).layers[1].weight
    assert (np.abs(conv2.astype(int)) == 127).all()
    check_every_kernel(module, images, any_compiler(), "-O0")


def test_the_best_kernels_of_this_cpu_are_chosen(net):
    assert int8_levels.library(net, any_compiler()).isa == int8_levels.here()[0].title


def test_int8_answers_do_not_depend_on_the_batch(int8):
    images = digits()
    alone = np.concatenate([int8(images[i : i + 1]) for i in range(len(images))])
    for size in (2, 3, 4, 5, 6, 7, 13, 31, 32, 33, 60):
        np.testing.assert_array_equal(int8(images[:size]), alone[:size])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_int8_says_nan_of_an_image_that_is_not_finite_and_of_no_other(net, int8, value):
    spoilt = digits(7).copy()
    spoilt[3, 0, 31, 31] = value
    logits, expected = int8(spoilt), int8(digits(7))
    assert np.isnan(logits[3]).all()
    np.testing.assert_array_equal(np.delete(logits, 3, 0), np.delete(expected, 3, 0))
    native = library(net, any_compiler(), "generic", precision="int8")
    native.run(spoilt, function="lenet_run_finite", code=2)
    native.run(digits(), function="lenet_run_finite", code=0)


def test_codes_stay_within_their_types(quantized):
    conv1, *others = quantized.layers
    assert conv1.weight.dtype == np.int16
    total = np.abs(conv1.weight.astype(np.int64)).sum(axis=(1, 2, 3))
    assert (total * 2**15 + np.abs(conv1.bias.astype(np.int64)) < 2**31).all()
    for layer in others:
        assert layer.weight.dtype == np.int8
        assert np.abs(layer.weight.astype(int)).reshape(len(layer.weight), -1).max() == 127
    for layer in quantized.layers:
        assert layer.scale.dtype == np.float32
        assert (layer.scale > 0).all()


def test_extreme_weights_do_not_overflow():
    """A bias far above its weights, a silent channel, and a network of zeros."""
    for change in (
        lambda net: net.fc1.bias.data.fill_(1e6),
        lambda net: net.conv1.bias.data.fill_(-1e4),
        lambda net: net.conv2.weight.data[3].zero_(),
        lambda net: [p.data.zero_() for p in net.parameters()],
    ):
        net = Net().eval()
        change(net)
        quantized = quantized_of(net)
        for layer in quantized.layers:
            rows = np.abs(layer.weight.astype(np.int64)).reshape(len(layer.bias), -1).sum(1)
            largest = 2**15 if layer is quantized.layers[0] else 255
            assert (rows * largest + np.abs(layer.bias.astype(np.int64)) < 2**31).all()
        assert np.isfinite(int8_reference.logits(quantized, digits(2))).all()


MUTATIONS = {
    "a channel's scale is twice too large": lambda layers: _scaled(layers, 1, 5, 2),
    "a layer's scales are a tenth too small": lambda layers: _scaled(layers, 2, slice(None), 0.9),
    "a logit's scale is a tenth too large": lambda layers: _scaled(layers, 4, 3, 1.1),
    "the biases of conv1 are lost": lambda layers: layers[0].bias.fill(0),
    "a large weight of conv2 is lost": lambda layers: _lost(layers[1].weight[9]),
    "a large weight of fc3 is lost": lambda layers: _lost(layers[4].weight[1]),
    "two channels change places": lambda layers: _swapped(layers[1].weight),
    "a filter's sign is wrong": lambda layers: np.negative(
        layers[0].weight[2], out=layers[0].weight[2]
    ),
    "activations are cut at half their range": lambda layers: _scaled(layers, 0, slice(None), 2),
}


def _scaled(layers, number, which, factor):
    layers[number].scale[which] *= np.float32(factor)


def _lost(weights):
    weights.reshape(-1)[np.abs(weights.astype(int)).argmax()] = 0


def _swapped(weight):
    weight[:, [1, 4]] = weight[:, [4, 1]]


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_tolerance_of_int8_sees_wrong_scales_and_large_wrong_weights(net, quantized, mutation):
    spoilt = copy.deepcopy(quantized)
    MUTATIONS[mutation](spoilt.layers)
    results = []
    for network in (quantized, spoilt):
        comparisons = [
            compare(
                int8_reference.logits(network, images),
                eager(net, images),
                TOLERANCES["int8"],
                inputs=name,
            )
            for name, images in parity_batches(digits(), (64,))
        ]
        results.append(all(comparison.ok for comparison in comparisons))
    assert results == [True, False]


def test_int8_of_a_lower_level_names_no_other_kernels(exported):
    manifest = exported("native", precision="int8", isa="x86-64-v3").manifest
    titles = ("x86-64-v3", "generic")
    assert set(manifest.kernels.values()) == {("int16", *titles), ("int8", *titles)}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_inspect_says_which_kernels_this_cpu_runs(exported, precision):
    artifact = exported("native", precision=precision)
    with load(artifact.path) as session:
        isa = session.predictor.isa
    report = json.loads(run("inspect", artifact.path, "--json").stdout)
    assert set(report["kernels_here"].values()) == {isa}
    assert run("inspect", artifact.path).stdout.count(f"{isa} (here)") == 5


@pytest.mark.parametrize(
    "calibration",
    [
        np.zeros((0, 28, 28), np.uint8),
        np.zeros((3, 28, 28), np.float32),
        np.zeros((28, 28), np.uint8),
        [[0]],
    ],
)
def test_what_cannot_calibrate_is_refused(net, tmp_path, calibration):
    with pytest.raises(InputError, match="calibration: expected uint8 digits"):
        lenet_export.export(
            net, "native", tmp_path / "new", precision="int8", calibration=calibration
        )


def test_fp32_is_not_calibrated(net, tmp_path):
    with pytest.raises(InputError, match="int8 alone has one, found fp32"):
        lenet_export.export(
            net, "native", tmp_path / "new", calibration=quantize.calibration_digits()
        )


def test_scales_follow_the_calibration_digits(net):
    network = layers.read(net, (1, 32, 32))
    raw = quantize.calibration_digits()
    few, many = (
        quantize.calibration_batch("int8", images, Preprocessing(), (1, 32, 32))
        for images in (raw[:3], raw)
    )
    ranges = quantize.calibrate(network, many)
    assert np.all(quantize.calibrate(network, few).activations <= np.array(ranges.activations))
    with torch.inference_mode():
        pooled = torch.nn.functional.max_pool2d(torch.relu(net.conv1(torch.tensor(many))), 2)
    assert ranges.activations[0] == pytest.approx(float(pooled.max()))
    assert ranges.pixel == float(np.abs(many).max())


def test_the_bundled_calibration_digits_are_of_the_training_set(mnist_dir, tmp_path):
    """The very bytes that the maintainers' tool makes of it, and no digit of the test set."""
    bundle.calibration(mnist_dir, tmp_path / "calibration.npz")
    bundled = quantize.calibration_digits()
    with np.load(tmp_path / "calibration.npz") as arrays:
        images, indices = arrays["images"], arrays["indices"]
    np.testing.assert_array_equal(images, bundled)
    train = data.load_mnist(mnist_dir, train=True)
    np.testing.assert_array_equal(train.images.numpy()[indices], bundled)
    assert (np.bincount(train.labels.numpy()[indices]) == 25).all()
    test = {image.tobytes() for image in data.load_mnist(mnist_dir, train=False).images.numpy()}
    assert not test & {image.tobytes() for image in bundled}


def test_calibration_from_a_folder_reads_the_training_set_alone(
    net, mnist_dir, tmp_path, monkeypatch
):
    read = []
    real = data.load_mnist

    def spy(folder, *, train, download=False):
        read.append(train)
        return real(folder, train=train, download=download)

    monkeypatch.setattr(data, "load_mnist", spy)
    words = ("export", "-f", "native", "--precision", "int8", "--source-only", "-o", tmp_path)
    run(*words, "--calibration-dir", mnist_dir)
    assert read == [True]
    own = request(net, precision="int8", calibration=real(mnist_dir, train=True).images.numpy())
    expected = write_source(own, tmp_path / "here")
    for path in expected:
        assert path.read_bytes() == (tmp_path / "native-source" / path.name).read_bytes()
    run(*words)
    assert read == [True]
