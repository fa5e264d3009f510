"""Every kind of member that has no kernels of its own: its C, on each instruction set."""

import hashlib
import os
import re

import family
import numpy as np
import pytest
import torch
from native_c import (
    COMPILERS,
    FLAGS,
    WARNINGS,
    any_compiler,
    need,
    request,
    seeded,
    shell,
    sources_of,
    write,
)
from torch import nn

import lenet_export
import lenet_runtime
from lenet_export.formats.native import PRECISIONS, assembly, build, member, minimal, stages
from lenet_export.formats.native.isa import BASE, BF16_FLAGS
from lenet_export.network import layers
from lenet_export.network.reference import Reference
from lenet_runtime import cpu
from lenet_runtime.errors import InputError
from lenet_runtime.parity import TOLERANCES, compare

needs_bf16 = pytest.mark.skipif(
    not cpu.flags().issuperset(BF16_FLAGS), reason="this CPU has no avx512_bf16"
)
THIRD = "5x5, tanh, average, a third convolution as dense"
# The shape of an image, the convolutions that take Winograd's filters, and the module.
MEMBERS = {
    THIRD: ((1, 32, 32), {2}, lambda: nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(),
        nn.AvgPool2d(2), nn.Conv2d(16, 20, 5), nn.Tanh(), nn.Flatten(), nn.Linear(20, 10))),
    "3 channels, same, sigmoid, 26 classes, log_softmax": ((3, 28, 28), {2}, lambda: nn.Sequential(
        nn.Conv2d(3, 10, 5, padding=2), nn.Sigmoid(), nn.MaxPool2d(2), nn.Conv2d(10, 20, 5),
        nn.Sigmoid(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(500, 26), nn.LogSoftmax(1))),
    "odd sides, no pooling, softmax": ((1, 30, 27), {3}, lambda: nn.Sequential(
        nn.Conv2d(1, 7, 3), nn.ReLU(), nn.Conv2d(7, 9, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(9, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(840, 33), nn.Tanh(),
        nn.Linear(33, 2), nn.Softmax(1))),
    "fewer pixels than a register has": ((1, 3, 5), set(), lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(9, 2))),
    "batch norm": ((1, 28, 28), set(), lambda: nn.Sequential(
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


def images_of(shape):
    images = np.random.default_rng(0).standard_normal((35, *shape), np.float32)
    images[3, 0, 2, 2] = np.nan
    return images


def answers_by_level(module, shape, compiler, *flags, run=("./main",), filters=None):
    """The answers to `images_of(shape)` by level, of one program: WIDTH caps its vectors."""
    levels = [kind for kind in PRECISIONS["fp32"].levels["x86-64-v4"] if kind.features]
    network = layers.read(module, shape)
    program = member.program(network, (*levels, BASE), minimal_filters=filters)
    sources = assembly.sources(program, request(module))
    for kind in levels:
        capped = f'if ({kind.supported} && atoi(getenv("WIDTH")) >= {kind.width})'
        assert f"if ({kind.supported})" in sources["lenet.c"]
        sources["lenet.c"] = sources["lenet.c"].replace(f"if ({kind.supported})", capped)
    folder = write(sources | {"main.c": DRIVER})
    shell(
        compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-include", "stdlib.h",
        *flags, "-o", "main", "main.c", "lenet.c", cwd=folder,
    )  # fmt: skip
    data = images_of(shape).tobytes()
    for kind in (*levels, BASE):
        out = shell(*run, cwd=folder, input=data, env=os.environ | {"WIDTH": str(kind.width)})
        yield kind.title, np.frombuffer(out, np.float32).reshape(35, -1)


def require_right(module, shape, found, level):
    """As eager answers; and nothing but NaN where an image has one."""
    finite = np.arange(35) != 3
    expected = Reference(module).eager(images_of(shape)[finite])
    report = compare(found[finite], expected, TOLERANCES["fp32"])
    assert report.ok, (level, report.reason)
    assert np.isnan(found[3]).all(), level


@pytest.mark.parametrize(("shape", "filters", "make"), MEMBERS.values(), ids=MEMBERS)
def test_a_member_answers_as_eager_does(shape, filters, make):
    """With `filters` Winograd's where these can be; no read or write beside an array."""
    module = of(make)
    sanitize = ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    found = answers_by_level(module, shape, any_compiler(), *sanitize, filters=filters)
    for level, answers in found:
        require_right(module, shape, answers, level)


def test_winograd_can_take_what_the_members_say():
    for shape, filters, make in MEMBERS.values():
        staged = stages.stage(layers.read(of(make), shape)).stages
        assert all(minimal.fits(staged[number - 1]) for number in filters)


def test_aarch64_answers_as_eager_does():
    need("aarch64-linux-gnu-gcc")
    need("qemu-aarch64")
    shape, filters, make = next(iter(MEMBERS.values()))
    module, run = of(make), ("qemu-aarch64", "./main")
    flags = ("-O1", "-static")
    found = answers_by_level(
        module, shape, "aarch64-linux-gnu-gcc", *flags, run=run, filters=filters
    )
    require_right(module, shape, dict(found)["generic"], "aarch64")


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", list(MEMBERS)[:2])
def test_strict_warnings_find_nothing(name, compiler):
    need(compiler)
    shape, filters, make = MEMBERS[name]
    module = of(make)
    network = layers.read(module, shape)
    for precision in ("fp32", "bf16"):
        levels = PRECISIONS[precision].levels["x86-64-v4"]
        program = member.program(network, levels, precision, minimal_filters=filters)
        folder = write(assembly.sources(program, request(module, precision=precision)))
        for flags in (("-std=c99",), ("-std=c99", "-DLENET_PLAIN_C")):
            shell(compiler, *FLAGS, *WARNINGS, *flags, "-fsyntax-only", "lenet.c", cwd=folder)


@pytest.mark.parametrize(
    ("name", "precision"),
    [("classic", "fp32"), ("26 classes", "fp32"), ("29x45", "fp32"), ("softmax", "fp32")]
    + [pytest.param(name, "bf16", marks=needs_bf16) for name in ("tutorial 5x5", "cifar", "d2l")],
)
def test_a_member_is_exported_and_proven(tmp_path, name, precision):
    each = family.MEMBERS[name]
    module = each.make()
    artifact = lenet_export.export(
        module, "native", tmp_path / "a", precision=precision, input_shape=each.image_shape
    )
    assert artifact.manifest.parity.ok
    assert artifact.manifest.kernels["fc1"][0] == precision
    images = images_of(each.image_shape)[4:]
    with lenet_runtime.load(artifact.path, trust=True) as session:
        found = session.run(images)
        alone = np.concatenate([session.run(images[i : i + 1]) for i in range(len(images))])
    np.testing.assert_array_equal(found, alone)
    error = np.abs(found - Reference(module).eager(images)).max()
    least, most = {"fp32": (0, 1e-5), "bf16": (2e-5, 5e-3)}[precision]
    assert least <= error <= most


@needs_bf16
def test_the_manifest_says_that_a_convolution_is_computed_as_dense():
    _, _, make = MEMBERS[THIRD]
    kernels = build(request(of(make), precision="bf16")).kernels
    assert kernels["conv2"] == ("fp32", "x86-64-v4")
    assert kernels["conv3"] == ("bf16", "avx512_bf16")
    assert kernels["fc1"] == ("fp32", "x86-64-v4")


def test_batch_norm_is_folded_in_float64():
    module = of(MEMBERS["batch norm"][2])
    network = layers.read(module, (1, 28, 28))
    scale = module[1].weight.double() / torch.sqrt(module[1].running_var.double() + module[1].eps)
    expected = (module[0].weight.double() * scale[:, None, None, None]).float().numpy()
    np.testing.assert_array_equal(network.convolutions[0].weight, expected)


def test_int8_says_what_it_found():
    module = of(MEMBERS["batch norm"][2])
    with pytest.raises(InputError, match=r"int8 takes two 3x3 convolutions .* found images"):
        layers.require_net_like(layers.read(module, (1, 28, 28)), "native: int8")


SEED = {
    ("fp32", "lenet.c"): "6d0279583cce070f",
    ("fp32", "lenet.h"): "4ba574cf090849af",
    ("bf16", "lenet.c"): "156276a23aa4d70b",
    ("int8", "lenet.c"): "d484ede04bfc5833",
}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_the_bundled_network_keeps_its_bytes(net, precision):
    """The tuned kernels are not touched by what other members need; but for the version."""
    for name, text in sources_of(net, "x86-64-v4", precision).items():
        if (precision, name) in SEED:
            own = re.sub(r"lenet-deploy \d[\w.]*|_version\[\] = .*", "", text)
            assert hashlib.sha256(own.encode()).hexdigest()[:16] == SEED[precision, name]
