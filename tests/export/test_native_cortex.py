"""--target cortex-m: integers in NumPy, the host's own logits, and a Cortex-M4 under QEMU."""

import re

import int8_reference
import numpy as np
import pytest
import torch
from cli_helper import run
from native_c import calibration, other_net
from samples import digits, eager, raw_digits
from torch import nn

import microcontroller
from lenet_export import export
from lenet_export.network import layers, quantize
from lenet_runtime import load
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import Preprocessing, normalise
from lenet_runtime.parity import TOLERANCES, compare
from microcontroller import Host


def quantized_of(module):
    network = layers.read(module, (1, 32, 32))
    return quantize.quantize(network, quantize.calibrate(network, calibration()))


@pytest.fixture(scope="module")
def pixels():
    """Digits, noise of every brightness, black, white, and single dots."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 28, 28))
    dots = np.zeros((4, 28, 28))
    dots[0, 0, 0] = dots[1, 27, 27] = dots[2, 27, 0] = dots[3, 13, 26] = 255
    plain = np.stack([np.zeros((28, 28)), np.full((28, 28), 255)])
    images = (raw_digits(), noise, noise * (noise > 200), plain, dots)
    return np.concatenate(images).astype(np.uint8)


@pytest.fixture(scope="module")
def files(net):
    return {precision: microcontroller.sources(net, precision) for precision in ("int8", "fp32")}


@pytest.fixture(scope="module")
def host(files):
    return Host(files["int8"])


def test_int8_equals_integers_in_numpy(net, host, pixels):
    classes, logits = host.run(pixels)
    expected = int8_reference.logits(quantized_of(net), normalise(pixels, Preprocessing()))
    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(classes, expected.argmax(axis=1))


def test_other_sizes_equal_integers_in_numpy(pixels):
    module = other_net(5, 7, 33, 17)
    _, logits = Host(microcontroller.sources(module)).run(pixels)
    expected = int8_reference.logits(quantized_of(module), normalise(pixels, Preprocessing()))
    np.testing.assert_array_equal(logits, expected)


def test_outputs_with_a_bias_alone_equal_integers_in_numpy(pixels):
    """As pruning leaves them; with one dense layer, whose codes nobody needs."""
    module = other_net(3, 4)
    with torch.no_grad():
        module[0].weight[0] = module[3].weight[1] = 0
        module[0].bias[0] = module[3].bias[1] = 0.5
    _, logits = Host(microcontroller.sources(module), None, "-O1").run(pixels)
    expected = int8_reference.logits(quantized_of(module), normalise(pixels, Preprocessing()))
    np.testing.assert_array_equal(logits, expected)


def test_logits_that_no_float_holds_are_refused():
    module = other_net(3, 4)
    with torch.no_grad():
        module[-1].weight *= 1e-37
        module[-1].bias *= 1e-37
    with pytest.raises(InputError, match="scale the last layer"):
        microcontroller.sources(module)


def test_fp32_is_within_tolerance(net, files, pixels):
    classes, logits = Host(files["fp32"], None, "-O1").run(pixels)
    expected = eager(net, normalise(pixels, Preprocessing()))
    assert not compare(logits, expected, TOLERANCES["fp32"], inputs="digits").reason
    np.testing.assert_array_equal(classes, logits.argmax(axis=1))


def test_null_is_an_error_and_writes_nothing(host):
    image, memory = raw_digits(1), np.zeros(host.words, np.uint32)
    logits = np.full(10, 7, np.float32)
    for arguments in ((None, logits, memory), (image, None, memory), (image, logits, None)):
        assert host.call(*arguments) == -1
    assert (logits == 7).all()
    assert not memory.any()


def test_what_it_cannot_make_is_refused(net):
    ending = nn.Sequential(net, nn.LogSoftmax(1))
    with pytest.raises(InputError, match="cortex-m"):
        microcontroller.sources(ending)
    with pytest.raises(InputError, match="isa"):
        microcontroller.generate(microcontroller.request(net, precision="int8"))


@pytest.fixture(scope="module")
def session(exported):
    artifact = exported("native", precision="int8", target="cortex-m")
    with load(artifact.path) as session:
        yield session


def test_the_artifact_answers_as_the_host_does(session, exported):
    with load(exported("native", precision="int8").path) as host:
        expected = host.run(digits())
        np.testing.assert_array_equal(session.run(digits()), expected)
        labels = host.predict(raw_digits()).labels
    np.testing.assert_array_equal(session.predictor.run_pixels(raw_digits()), expected)
    np.testing.assert_array_equal(session.predict(raw_digits()).labels, labels)
    session.warmup()


def test_the_artifact_refuses_what_is_no_image_of_pixels(session):
    images = digits(2).copy()
    images[1, 0, 0, 3] = images[1, 0].max()
    with pytest.raises(InputError, match=r"takes pixels.*at \(1, 0, 0, 3\).*Session.predict"):
        session.run(images)
    images[1, 0, 0, 3] = np.nan
    with pytest.raises(InputError, match="NaN"):
        session.run(images)


def test_inspect_says_what_it_takes_of_each_core(session):
    microcontroller.need_machine()
    text = run("inspect", session.artifact.path).stdout
    for core in microcontroller.MACHINES:
        assert re.search(rf"on {core} .* \d{{5}} bytes of flash, \d{{4}} of RAM", text)


def test_bench_refuses_to_time_it_here(session):
    done = run("bench", session.artifact.path, code=4)
    assert "says nothing of one; python -m benchmarks.microcontroller" in done.stderr


def test_a_batch_size_means_nothing_to_it(net, tmp_path):
    options = {"target": "cortex-m", "precision": "int8", "static_batch": 4}
    with pytest.raises(InputError, match="static batch: cortex-m takes one image at a time, found"):
        export(net, "native", tmp_path / "artifact", **options)


def test_two_networks_fit_one_program(net):
    files = microcontroller.sources(net, prefix="digits")
    assert "lenet_" not in files["lenet.c"].replace("lenet_deploy", "")
    assert "int digits_classify(" in files["lenet.h"]


def test_a_cortex_m4_answers_the_same(files, host, pixels):
    """The other cores are tried by tests/trials/trial_microcontroller.py."""
    microcontroller.need_machine()
    report = microcontroller.run(files["int8"], "cortex-m4", pixels)
    classes, logits = host.run(pixels)
    np.testing.assert_array_equal(report.logits, logits)
    np.testing.assert_array_equal(report.classes, classes)
