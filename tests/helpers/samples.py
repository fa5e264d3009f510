"""Images, the answers to them, and the content of folders: what tests of every layer compare."""

import copy
import os

import numpy as np

from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch


def noise(count, seed=0, scale=1):
    """Float32 images ``(count, 1, 32, 32)``, the same for the same seed."""
    shape = (count, 1, 32, 32)
    return np.random.default_rng(seed).standard_normal(shape, np.float32) * np.float32(scale)


def raw_digits(count=60):
    """The bundled digits, over and over: uint8 ``(count, 28, 28)``."""
    return np.ascontiguousarray(np.resize(load_digits().images, (count, 28, 28)))


def digits(count=60):
    """The same as the network takes them: float32 ``(count, 1, 32, 32)``."""
    return to_batch(raw_digits(count), Preprocessing())


def first_ten(images):
    """The logits of our fake engines, of arrays and tensors: the first ten pixels of an image."""
    return images.reshape(len(images), -1)[:, :10]


def eager(module, images):
    """The logits of a copy of `module` in eval mode."""
    import torch

    with torch.inference_mode():
        return copy.deepcopy(module).eval()(torch.tensor(images)).numpy()


def snapshot(folder):
    """Each file below `folder` with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def read_only(x):
    """`x` itself, which nobody may write into from here on."""
    x.flags.writeable = False
    return x


def logits(rows=3, seed=0):
    """Float32 logits ``(rows, 10)``, the same for the same seed."""
    return np.random.default_rng(seed).normal(0, 5, (rows, 10)).astype(np.float32)


class Payload:
    """Makes the folder `proof` where somebody unpickles it."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)
