"""The same bits on every target: each section of ``lenet.c``, from each compiler, at -O1 and -O2.

As a trial it compares networks of several kinds. Run by itself it prints a table of the bundled
network, of its 10,000 test digits where a folder of MNIST is named:

    PYTHONPATH=tests/helpers python tests/trials/trial_targets.py [FOLDER]

Sizes are of ``lenet.o``. Instructions are counted by a QEMU plugin, of one image alone and of one
among 64, as the difference of more and fewer calls; they stand for time where there is no such
CPU, and are no time. QEMU 7.2 has no AVX-512, of which none are counted.
"""

import dataclasses
import functools
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from native_c import FLAGS, levels_here, need, new_folder, request, seeded, shell
from torch import nn

import lenet_export
import lenet_runtime
from lenet_deploy.training import mnist
from lenet_deploy.training.checkpoint import load_checkpoint
from lenet_export.formats.native import build, generate
from lenet_export.formats.native.assembly import text
from lenet_export.proof import mnist_batch
from lenet_runtime.digest import logits_sha256
from lenet_runtime.errors import BackendUnavailable
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.session import Session

ARM = {
    "gcc": ("aarch64-linux-gnu-gcc",),
    "clang": ("clang", "--target=aarch64-linux-gnu"),
}
OLD_ARM = "neon, Cortex-A53"
PLUGIN = Path(__file__).parents[2] / "benchmarks" / "microcontroller" / "count.c"
# What computes it here: the level that is generated, more flags, and what QEMU is told.
SECTIONS = {level: (level, (), ()) for level in levels_here()} | {
    "plain C": ("generic", ("-DLENET_PLAIN_C",), ()),
    "neon": ("x86-64-v4", (), ("qemu-aarch64", "-cpu", "max")),
    OLD_ARM: ("x86-64-v4", (), ("qemu-aarch64", "-cpu", "cortex-a53")),
    "generic on aarch64": ("generic", (), ("qemu-aarch64",)),
}
MEMBERS = {
    "fp32": (1, 32, 32),
    "int8": (1, 32, 32),
    "5x5, tanh, average": (1, 28, 28),
    "3 channels, sigmoid, log_softmax": (3, 28, 28),
    "minimal filters, softmax": (1, 30, 27),
}


@functools.cache
def sources(name, level):
    """``lenet.c`` and ``lenet.h`` of a network, and a program that reads images."""
    made = {
        "5x5, tanh, average": lambda: nn.Sequential(
            nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 10)),
        "3 channels, sigmoid, log_softmax": lambda: nn.Sequential(
            nn.Conv2d(3, 10, 5, padding=2), nn.Sigmoid(), nn.MaxPool2d(2), nn.Conv2d(10, 20, 5),
            nn.Sigmoid(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(500, 26), nn.LogSoftmax(1)),
        "minimal filters, softmax": lambda: nn.Sequential(
            nn.Conv2d(1, 7, 3), nn.ReLU(), nn.Conv2d(7, 9, 5, padding=2), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(9, 5, 3, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(840, 33), nn.Tanh(), nn.Linear(33, 2), nn.Softmax(1)),
    }  # fmt: skip
    module = seeded(made[name]) if name in made else load_checkpoint()
    precision = "int8" if name == "int8" else "fp32"
    own = dataclasses.replace(request(module, level, precision), image_shape=MEMBERS[name])
    return generate(own) | {"driver.c": text("driver.c")}


def compiled(name, section, compiler, level):
    """The folder of ``lenet.o`` and a program of it, and how to run it; skips where it cannot."""
    isa, flags, runner = SECTIONS[section]
    command = ARM[compiler] if runner else (compiler,)
    for tool in (command[0], *runner[:1]):
        need(tool)
    folder = new_folder()
    for file, content in sources(name, isa).items():
        (folder / file).write_text(content)
    flags = [*FLAGS, *flags, level]
    shell(*command, *flags, "-c", "-o", "lenet.o", "lenet.c", cwd=folder)
    shell(*command, *flags, "-static", "-o", "driver", "lenet.o", "driver.c", cwd=folder)
    return folder, [*runner, "./driver"]


def answers(folder, command, images):
    return shell(*command, str(len(images)), cwd=folder, input=images.tobytes())


def odd_images(shape):
    """Noise, some of it not finite, huge or tiny."""
    images = np.random.default_rng(0).standard_normal((40, *shape)).astype(np.float32)
    images[0, ..., 2, 2], images[1, ..., 1, 2], images[2, ..., 2, 1] = np.inf, np.nan, 1e30
    images[3] *= np.float32(1e-38)
    images[4:8] = np.round(images[4:8] * 4) / 4
    return images


@functools.cache
def first(name):
    images = odd_images(MEMBERS[name])
    folder, command = compiled(name, next(iter(SECTIONS)), "gcc", "-O2")
    return images, np.frombuffer(answers(folder, command, images), np.float32)


CASES = [
    (name, section, compiler, level)
    for name in MEMBERS
    for section in SECTIONS
    for compiler in ARM
    for level in (["-O1", "-O2"] if name == "fp32" else ["-O2"])
    if name == "int8" or section != OLD_ARM  # else of the same code
]


@pytest.mark.parametrize(("name", "section", "compiler", "level"), CASES)
def test_equal_to_the_bit(name, section, compiler, level):
    """NaN in the same places; its sign is each CPU's own."""
    images, expected = first(name)
    folder, command = compiled(name, section, compiler, level)
    found = np.frombuffer(answers(folder, command, images), np.float32)
    np.testing.assert_array_equal(found, expected)
    there = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found)[there], np.signbit(expected)[there])


# ---- artifacts


@functools.cache
def host(precision):
    """An artifact for this machine."""
    return lenet_export.export(
        load_checkpoint(), "native", new_folder() / "host", precision=precision, batch_sizes=[1]
    )


def session_of(target, precision):
    """A target's code as it runs here: in this process, in Node or under QEMU."""
    if target == "aarch64":
        own = request(load_checkpoint(), "", precision)
        made = build(dataclasses.replace(own, options={"target": target}))
        return Session(made.emulator(host(precision)), host(precision), "native")
    kind, options = ("web", {}) if target == "web" else ("native", {"target": target})
    artifact = lenet_export.export(
        load_checkpoint(), kind, new_folder() / target, precision=precision, batch_sizes=[1],
        **options,
    )  # fmt: skip
    return lenet_runtime.load(artifact)


@pytest.mark.parametrize(
    ("target", "precision"),
    [
        *(("aarch64", "fp32"), ("web", "fp32")),
        *(("aarch64", "int8"), ("web", "int8"), ("cortex-m", "int8")),
    ],
)
def test_one_digest_of_the_bundled_digits(target, precision):
    """Microcontrollers' fp32 adds in an order of its own."""
    try:
        session = session_of(target, precision)
    except BackendUnavailable as error:
        pytest.skip(str(error))
    digits = load_digits().images
    with session, lenet_runtime.load(host(precision)) as expected:
        assert logits_sha256(session, digits) == logits_sha256(expected, digits)


# ---- the table


def instructions(folder, command, images):
    """Of an image, as the difference between more and fewer of them; "-" where none are counted."""
    emulator = [*command[:-1]] or ["qemu-x86_64", "-cpu", "max"]
    if not PLUGIN.is_file() or shutil.which(emulator[0]) is None:
        return "-"
    shell("gcc", "-O2", "-shared", "-fPIC", "-o", "count.so", str(PLUGIN), cwd=folder)
    counts = []
    for part in (images[:32], images):
        done = subprocess.run(
            [*emulator, "-plugin", "./count.so", "-d", "plugin", "./driver", str(len(part))],
            cwd=folder, input=part.tobytes(), capture_output=True, check=True,
        )  # fmt: skip
        counts.append(int(re.search(rb"instructions (\d+)", done.stderr)[1]))
    return f"{(counts[1] - counts[0]) / (len(images) - 32):,.0f}"


def sizes(folder):
    """Bytes of code and of constants."""
    lines = shell("size", "-A", "lenet.o", cwd=folder).decode().splitlines()
    numbers = [
        (words[0], int(words[1]))
        for words in map(str.split, lines)
        if len(words) == 3 and words[1].isdigit()
    ]
    return [sum(n for name, n in numbers if name.startswith(kind)) for kind in (".text", ".rodata")]


def table(digits):
    images = mnist_batch(digits, Preprocessing(), (1, 32, 32))
    print("| precision | section | compiler | code | constants | instructions | SHA-256 |")
    print("|---|---|---|---:|---:|---:|---|")
    for name in ("fp32", "int8"):
        for section in SECTIONS:
            for compiler in ("gcc", "clang"):
                folder, command = compiled(name, section, compiler, "-O2")
                digest = hashlib.sha256(answers(folder, command, images)).hexdigest()[:16]
                counted = (
                    "-" if section == "x86-64-v4" else instructions(folder, command, images[:96])
                )
                code, constants = sizes(folder)
                print(f"| {name} | {section} | {compiler} | {code:,} | {constants:,} | {counted} | "
                      f"{digest} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    table(
        mnist.read(Path(sys.argv[1]), train=False)[0] if len(sys.argv) > 1 else load_digits().images
    )
