"""Every kind of member that has no kernels of its own: its C, on each instruction set."""

import hashlib
import re

import numpy as np
import pytest
import torch
from native_c import any_compiler, levels_here, request, seeded, shell, sources_of, write
from torch import nn

from lenet_export.formats.native import PRECISIONS, assembly, member, minimal, stages
from lenet_export.network import layers
from lenet_export.network.reference import Reference
from lenet_runtime.errors import InputError
from lenet_runtime.parity import TOLERANCES, compare

MEMBERS = {
    "5x5, tanh, average, a third convolution as dense": ((1, 32, 32), lambda: nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(),
        nn.AvgPool2d(2), nn.Conv2d(16, 20, 5), nn.Tanh(), nn.Flatten(), nn.Linear(20, 10))),
    "three channels, same, sigmoid, 26 classes, log_softmax": ((3, 28, 28), lambda: nn.Sequential(
        nn.Conv2d(3, 10, 5, padding=2), nn.Sigmoid(), nn.MaxPool2d(2), nn.Conv2d(10, 20, 5),
        nn.Sigmoid(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(500, 26), nn.LogSoftmax(1))),
    "odd sides, no pooling, softmax": ((1, 30, 27), lambda: nn.Sequential(
        nn.Conv2d(1, 7, 3), nn.ReLU(), nn.Conv2d(7, 9, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(9, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(840, 33), nn.Tanh(),
        nn.Linear(33, 2), nn.Softmax(1))),
    "fewer pixels than a register has": ((1, 3, 5), lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(9, 2))),
    "batch norm": ((1, 28, 28), lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.BatchNorm2d(4),
        nn.Conv2d(4, 20, 3), nn.AvgPool2d(2), nn.ReLU(), nn.BatchNorm2d(20), nn.Flatten(),
        nn.Linear(500, 30), nn.BatchNorm1d(30), nn.ReLU(), nn.Linear(30, 10))),
}  # fmt: skip


def of(make):
    module = seeded(make)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.uniform_(-1, 1)
            layer.running_var.uniform_(0.5, 2)
            layer.weight.uniform_(-1, 1)
    return module


DRIVER = """
#include "lenet.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
    /* Images of just their size, so that the sanitizer sees a read behind them. */
    float *images = malloc(sizeof *images * LENET_PIXELS * 35);
    static float answers[LENET_LOGITS * 35];
    const size_t n = fread(images, sizeof *images * LENET_PIXELS, 35, stdin);
    void *work = malloc(lenet_workspace_size());
    memset(work, 0xff, lenet_workspace_size());
    if (lenet_run(images, answers, n, work))
        return 1;
    free(work);
    free(images);
    return fwrite(answers, sizeof *answers * LENET_LOGITS, n, stdout) != n;
}
"""


@pytest.mark.parametrize(("shape", "make"), MEMBERS.values(), ids=MEMBERS)
def test_a_member_answers_as_eager_does(shape, make):
    module = of(make)
    network, reference = layers.read(module, shape), Reference(module)
    images = np.random.default_rng(0).standard_normal((35, *shape), np.float32)
    images[3, 0, 2, 2] = np.nan
    everywhere = network.convolutions[0].padding == 0
    finite = np.arange(35) != 3
    able = {
        number for number, stage in enumerate(stages.stage(network).stages, 1)
        if minimal.fits(stage)
    }  # fmt: skip
    for level in levels_here():
        for chosen in ({*able}, set()):
            kinds = PRECISIONS["fp32"].levels[level]
            program = member.program(network, kinds, minimal_filters=chosen)
            folder = write(assembly.sources(program, request(module, level)))
            (folder / "main.c").write_text(DRIVER)
            sanitize = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
            shell(
                any_compiler(), "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic",
                *sanitize, "-o", "main", "main.c", "lenet.c", cwd=folder,
            )  # fmt: skip
            out = shell("./main", cwd=folder, input=images.tobytes())
            found = np.frombuffer(out, np.float32).reshape(35, -1)
            report = compare(
                found[finite], reference.eager(images[finite]), TOLERANCES["fp32"],
            )  # fmt: skip
            assert report.ok, (level, chosen, report.reason)
            assert np.isnan(found[3]).all() or not everywhere, level


def test_batch_norm_is_folded_in_float64():
    module = of(MEMBERS["batch norm"][1])
    network = layers.read(module, (1, 28, 28))
    scale = module[1].weight.double() / torch.sqrt(module[1].running_var.double() + module[1].eps)
    expected = (module[0].weight.double() * scale[:, None, None, None]).float().numpy()
    np.testing.assert_array_equal(network.convolutions[0].weight, expected)


def test_int8_says_what_it_found():
    module = of(MEMBERS["batch norm"][1])
    with pytest.raises(InputError, match=r"int8 takes two 3x3 convolutions .* found images"):
        layers.require_net_like(layers.read(module, (1, 28, 28)), "native: int8")


SEED = {
    ("fp32", "lenet.c"): "d11af8d708e01e2f",
    ("fp32", "lenet.h"): "d6e5196c1ae29315",
    ("bf16", "lenet.c"): "5e6544478142f17b",
    ("int8", "lenet.c"): "f3274e6371c715a4",
}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_the_bundled_network_keeps_its_bytes(net, precision):
    """The tuned kernels are not touched by what other members need; but for the version."""
    for name, text in sources_of(net, "x86-64-v4", precision).items():
        if (precision, name) in SEED:
            own = re.sub(r"lenet-deploy \d[\w.]*|_version\[\] = .*", "", text)
            assert hashlib.sha256(own.encode()).hexdigest()[:16] == SEED[precision, name]
