"""A small data set in MNIST's own files, for tests: easy to learn, and no download."""

import struct
from pathlib import Path

import numpy as np


def make_digits(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images ``(count, 28, 28)`` and labels: ten fixed patterns under noise."""
    patterns = np.random.default_rng(0).integers(0, 2, (10, 5, 5), dtype=np.uint8)
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 10).astype(np.uint8)
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 4:24, 4:24] = patterns.repeat(4, axis=1).repeat(4, axis=2)[labels] * 200
    images[:, 4:24, 4:24] += random.integers(0, 50, (count, 20, 20), dtype=np.uint8)
    return images, labels


def write_mnist(root: Path, train: int = 320, test: int = 50, seed: int = 1) -> Path:
    """Write ``root/MNIST/raw`` as torchvision lays it out (idx files); returns `root`."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for kind, count, kind_seed in (("train", train, seed), ("t10k", test, seed + 1)):
        images, labels = make_digits(count, kind_seed)
        header = struct.pack(">IIII", 0x803, count, 28, 28)
        (raw / f"{kind}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = struct.pack(">II", 0x801, count)
        (raw / f"{kind}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return root
