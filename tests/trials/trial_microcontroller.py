"""Each Cortex-M under QEMU, the 10,000 test digits, every code, sanitizers: what takes minutes."""

import int8_reference
import numpy as np
import pytest
from native_c import COMPILERS, calibration, other_net, shell, write
from samples import eager, raw_digits

import microcontroller
from lenet_deploy.training import data
from lenet_export.formats.native import cortex_fixed
from lenet_export.network import layers, quantize
from lenet_runtime.images.preprocess import Preprocessing, normalise
from lenet_runtime.parity import TOLERANCES, compare
from microcontroller import MACHINES, Host

KIB = 1024
# Bytes of flash, and of RAM with the stack.
GOALS = {"int8": (96 * KIB, 6 * KIB), "fp32": (340 * KIB, 12 * KIB)}
CODES = """
#include "lenet.c"
/* Over every step-th sum between two: how often lenet_code is not what float32 says. */
int wrong(int layer, int k, int32_t from, int32_t to, int32_t step)
{
    const lenet_output *const output = (layer == 0   ? lenet_conv1_output
                                        : layer == 1 ? lenet_dense0_output
                                                     : lenet_dense1_output) + k;
    const int shift = layer == 0 ? 0 : layer == 1 ? SHIFT0 : SHIFT1;
    float scale;
    int count = 0;
    memcpy(&scale, &output->scale, sizeof scale);
    for (int64_t sum = from; sum < to; sum += step) {
        const float product = (float)sum * scale;
        const float cut = product < 0 ? 0 : product > 255 ? 255 : product;
        const int code = (int)(cut + 12582912.0f - 12582912.0f);
        count += code != lenet_code((int32_t)sum * (1 << shift), shift, output);
    }
    return count;
}
"""


def quantized_of(module):
    network = layers.read(module, (1, 32, 32))
    return quantize.quantize(network, quantize.calibrate(network, calibration()))


@pytest.fixture(scope="module")
def files(net):
    return {precision: microcontroller.sources(net, precision) for precision in GOALS}


@pytest.fixture(scope="module")
def noise():
    noise = np.random.default_rng(1).integers(0, 256, (2000, 28, 28))
    dots = (np.random.default_rng(2).random((2000, 28, 28)) < 0.1) * 255
    return np.concatenate([noise, dots]).astype(np.uint8)


@pytest.mark.parametrize("core", MACHINES)
@pytest.mark.parametrize("precision", GOALS)
def test_a_core_answers_within_its_flash_and_ram(net, files, precision, core, capsys):
    """fp32 without an FPU is right, too, but slow: the compiler's library computes."""
    microcontroller.need_machine()
    if (precision, core) == ("fp32", "cortex-m0"):
        pytest.skip("fp32's weights do not fit the flash of a micro:bit")
    pixels = np.concatenate([raw_digits(), 255 - raw_digits(4)])
    report = microcontroller.run(files[precision], core, pixels)
    classes, logits = Host(files[precision]).run(pixels)
    if precision == "int8":
        np.testing.assert_array_equal(report.logits, logits)
    else:
        expected = eager(net, normalise(pixels, Preprocessing()))
        assert not compare(report.logits, expected, TOLERANCES["fp32"], inputs="digits").reason
    np.testing.assert_array_equal(report.classes, classes)
    flash, ram = GOALS[precision]
    with capsys.disabled():
        print(
            f"\n{core} {precision}: {report.flash} bytes of flash, "
            f"{report.workspace} of workspace, {report.stack} of stack"
        )
    assert report.flash <= flash
    assert report.workspace + report.stack <= ram


def test_no_bit_differs_from_the_host_on_all_test_digits(net, files, mnist_dir, noise):
    pixels = np.concatenate([data.load_mnist(mnist_dir, train=False).images.numpy(), noise])
    expected = int8_reference.logits(quantized_of(net), normalise(pixels, Preprocessing()))
    classes, logits = Host(files["int8"]).run(pixels)
    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(classes, expected.argmax(axis=1))


@pytest.mark.parametrize("sizes", [(1, 3, 5), (2, 4, 9), (3, 20, 30), (7, 16, 120, 84), (11, 4, 5)])
def test_other_networks_answer_right_on_every_core(sizes):
    module = other_net(*sizes)
    sources, pixels = microcontroller.sources(module), raw_digits()
    expected = int8_reference.logits(quantized_of(module), normalise(pixels, Preprocessing()))
    np.testing.assert_array_equal(Host(sources).run(pixels)[1], expected)
    microcontroller.need_machine()
    for core in MACHINES:
        report = microcontroller.run(sources, core, pixels)
        np.testing.assert_array_equal(report.logits, expected, core)
    expected = eager(module, normalise(pixels, Preprocessing()))
    for core in (None, "cortex-m4"):
        sources = microcontroller.sources(module, "fp32")
        _, logits = Host(sources).run(pixels)
        if core:
            logits = microcontroller.run(sources, core, pixels).logits
        assert not compare(logits, expected, TOLERANCES["fp32"], inputs="digits").reason


def test_a_code_is_what_float32_says(net, files):
    """Where fixed point is too close to a half, the exact rounding decides; both are tried."""
    dense = quantized_of(net).layers[2:]
    shifts = [cortex_fixed.dense_outputs(dense, i).shift for i in range(2)]
    folder = write(files["int8"] | {"codes.c": CODES})
    defines = [f"-DSHIFT{i}={shift}" for i, shift in enumerate(shifts)]
    shell("gcc", "-O2", "-shared", "-fPIC", *defines, "-o", "codes.so", "codes.c", cwd=folder)
    wrong = microcontroller.ctypes.CDLL(folder / "codes.so").wrong
    for k in range(6):
        assert wrong(0, k, -(2**24), 2**29, 977) == 0
    for layer, count in ((1, 120), (2, 84)):
        for k in range(count):
            assert wrong(layer, k, -9, 150_000, 1) == 0


@pytest.mark.parametrize("cc", COMPILERS)
def test_no_compiler_complains(files, cc):
    for sources in files.values():
        Host(sources, cc)
        Host(sources, cc, "-O3", "-std=gnu11")


def test_sanitizers_find_nothing(files, noise):
    """Not one sum overflows, and nothing is read beyond its array."""
    program = """
        #include <stdio.h>
        #include "lenet.h"
        int main(void)
        {
            static uint8_t pixels[LENET_PIXELS];
            float logits[LENET_LOGITS];
            lenet_workspace workspace;
            int sum = 0;
            while (fread(pixels, 1, sizeof pixels, stdin) == sizeof pixels)
                sum += lenet_classify(pixels, logits, &workspace);
            return sum == 0;
        }
    """
    for sources in files.values():
        folder = write(sources | {"main.c": program})
        flags = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
        shell("gcc", *flags, "-o", "program", "main.c", "lenet.c", cwd=folder)
        shell(folder / "program", input=noise[::20].tobytes())
