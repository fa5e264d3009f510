"""Prints the figures of docs/native.md: FMAs, zeros among the activations, distance from float64.

PYTHONPATH=tests/helpers python docs/native/figures.py DIR    # DIR holds MNIST/raw; needs gcc
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from native_c import DRIVER, FLAGS, drive, levels_here, library, shell, sources_of, write
from samples import noise

from lenet_deploy.training.checkpoint import load_checkpoint
from lenet_export.network.reference import Reference
from lenet_runtime.images.preprocess import Preprocessing, to_batch
from lenet_runtime.parity import TOLERANCES, compare

UNIT = 2.0**-24  # roundoff of float32
STEP = 500
QEMU_IMAGES = 1280


def mnist(folder):
    """All test digits as the network's input, and their labels."""
    raw = Path(folder) / "MNIST" / "raw"
    pixels = np.fromfile(raw / "t10k-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 28, 28)
    labels = np.fromfile(raw / "t10k-labels-idx1-ubyte", np.uint8)[8:]
    return to_batch(pixels, Preprocessing()), labels


def nonzero(net, images):
    """For each of the three dense layers, the share of its inputs that are not zero."""
    counts = np.zeros(3)
    with torch.inference_mode():
        for chunk in torch.from_numpy(images).split(STEP):
            x = F.max_pool2d(F.relu(net.conv1(chunk)), 2)
            x = F.max_pool2d(F.relu(net.conv2(x)), 2).flatten(1)
            hidden = F.relu(net.fc1(x))
            inputs = (x, hidden, F.relu(net.fc2(hidden)))
            counts += [(values != 0).sum().item() for values in inputs]
    return counts / len(images) / (576, 120, 84)


def fmas(shares):
    """Multiplications for an image by stage: PyTorch's, those that pooling needs, and ours."""
    dense = np.array([576 * 120, 120 * 84, 84 * 10])
    return {
        "conv1": (30 * 30 * 9 * 6, 28 * 28 * 9 * 6, 28 * 14 * 12 * 6),
        "conv2": (13 * 13 * 54 * 16, 12 * 12 * 54 * 16, 18 * 24 * 6 * 16),
        "dense": (int(dense.sum()), int(dense.sum()), round(float(dense @ shares))),
    }


def in_chunks(run, images, size=STEP):
    return np.concatenate([run(images[i : i + size]) for i in range(0, len(images), size)])


def aarch64(net):
    """The generic kernels, built for 64-bit ARM and run by qemu on the first images."""
    folder = write(sources_of(net) | {"main.c": DRIVER})
    build = ("aarch64-linux-gnu-gcc", *FLAGS, "-static", "-o", "main", "main.c", "lenet.c")
    shell(*build, cwd=folder)
    command = ["qemu-aarch64", "./main"]
    return lambda x: in_chunks(lambda chunk: drive(command, chunk, folder), x[:QEMU_IMAGES], 128)


def main():
    net = load_checkpoint().eval()
    reference = Reference(net)
    images, labels = mnist(sys.argv[1])
    engines = {level: library(net, "gcc", level).run for level in levels_here()}
    if shutil.which("aarch64-linux-gnu-gcc") and shutil.which("qemu-aarch64"):
        engines["aarch64"] = aarch64(net)
    for name, x in (("digits", images), ("noise", noise(10_000))):
        shares = nonzero(net, x)
        print(name, "not zero:", ", ".join(f"{share:.1%}" for share in shares))
        stages = fmas(shares)
        sums = [sum(column) for column in zip(*stages.values(), strict=True)]
        print("  FMAs:", stages, "sums", sums)
        eager, exact = in_chunks(reference.eager, x), in_chunks(reference.exact, x)
        largest = np.abs(exact).max(axis=1, keepdims=True)
        error = (np.abs(eager - exact) / largest).max() / UNIT
        print(f"  eager: {error:.1f} u from float64")
        for engine, run in engines.items():
            logits = run(x)
            rows = slice(len(logits))
            error = (np.abs(logits - exact[rows]) / largest[rows]).max() / UNIT
            comparison = compare(logits, eager[rows], TOLERANCES["fp32"])
            right = f", {(logits.argmax(1) == labels[rows]).sum()} right" if x is images else ""
            print(f"  {engine}: {len(logits)} images, {error:.1f} u from float64, "
                  f"{comparison.worst_share:.1%} of the tolerance from eager, "
                  f"top-1 {comparison.top1_agreement:.2%}{right}")  # fmt: skip


if __name__ == "__main__":
    main()
