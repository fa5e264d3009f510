"""MNIST as torch tensors: reads, splits, batches, distorts and preprocesses it."""

import contextlib
import hashlib
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it, in all its tutorials
from torch.utils.data import DataLoader, Dataset

from lenet_deploy.training import mnist
from lenet_runtime.errors import ArtifactError, InputError
from lenet_runtime.images.preprocess import Preprocessing

Batch = tuple[torch.Tensor, torch.Tensor]

# The largest distortions of a training digit: enough to look like another writer's hand, but not
# so much that a 4 becomes a 9. As in LeCun et al. (1998), section III.A, digits are shifted,
# scaled, squeezed and sheared at random, each uniformly.
ROTATION_DEGREES, SHEAR, SCALE, SHIFT_PIXELS = 10.0, 0.15, 0.1, 2.0


@dataclass(frozen=True)
class Split(Dataset[Batch]):
    """A set of digits in memory; MNIST's 60,000 training digits take 47 MB.

    Attributes:
        images: Images, uint8 ``(N, 28, 28)``.
        labels: Digits that the images show, int64 ``(N,)``, 0 to 9.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: torch.Tensor | list[int] | slice) -> Batch:
        """Return the digits at `indices` as one batch."""
        return self.images[indices], self.labels[indices]

    def sha256(self) -> str:
        """Hash every pixel and label, so that a run can tell its digits from others."""
        digest = hashlib.sha256(self.images.numpy().tobytes())
        digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()


def load_mnist(data_dir: Path, *, train: bool, download: bool = False) -> Split:
    """Read MNIST's 60,000 training digits, or its 10,000 test digits, as `mnist.read` does.

    Where they are missing, `download` has torchvision fetch them into ``MNIST/raw``.

    Raises:
        ArtifactError: the files are missing or damaged, or cannot be downloaded.
    """
    if download:
        _download(data_dir)
    images, labels = mnist.read(data_dir, train=train)
    return Split(torch.tensor(images), torch.tensor(labels, dtype=torch.int64))


def _download(data_dir: Path) -> None:
    """Fetch all of MNIST, unless both of its sets are there, whole or not."""
    with contextlib.suppress(ArtifactError):
        for train in (False, True):
            mnist.find(data_dir, train=train)
        return
    from torchvision.datasets import MNIST

    try:
        # torchvision reports a download on stdout, which belongs to the command's result.
        with contextlib.redirect_stdout(sys.stderr):
            MNIST(data_dir.expanduser(), download=True)
    except (RuntimeError, OSError, ValueError, TypeError, LookupError, AssertionError) as error:
        raise ArtifactError(f"{data_dir}: cannot get MNIST: {error}") from error


def hold_out(split: Split, count: int) -> tuple[Split, Split]:
    """Divide `split` into the digits to train on and `count` digits to judge a trial by.

    The same digits are held out each time, so trials with different seeds can be compared.
    """
    if count >= len(split):
        raise InputError(
            f"--validation: expected fewer than the {len(split)} training digits, found {count}"
        )
    order = torch.randperm(len(split), generator=generator(0, 0, purpose=_HOLD_OUT))
    kept, held_out = order[count:].sort().values, order[:count].sort().values
    return Split(*split[kept]), Split(*split[held_out])


_HOLD_OUT, ORDER, DISTORTION, WEIGHTS = range(4)  # purposes of random numbers


def generator(seed: int, epoch: int, *, purpose: int) -> torch.Generator:
    """Make a generator of random numbers that depends on its arguments alone.

    No state passes from one epoch to the next, so a resumed run draws the same numbers as one
    that was not interrupted.
    """
    word = np.random.SeedSequence((seed, epoch, purpose)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(word))


def batches(
    split: Split, batch_size: int, *, order: torch.Tensor | None = None, workers: int = 0
) -> Iterator[Batch]:
    """Yield uint8 images ``(B, 28, 28)`` and int64 labels ``(B,)``, the same for any `workers`.

    Without workers a batch takes microseconds, since it is a selection from tensors in memory;
    a worker process takes longer to send it.
    """
    order = torch.arange(len(split)) if order is None else order
    chunks = [chunk.tolist() for chunk in torch.split(order, batch_size)] if len(order) else []
    if workers == 0:
        for chunk in chunks:
            yield split[chunk]
    else:
        # A DataLoader without a generator would draw from the global one.
        yield from DataLoader(
            split, batch_size=None, sampler=chunks, num_workers=workers, generator=torch.Generator()
        )


def preprocess(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Turn uint8 ``(N, 28, 28)`` into the network's input, float32 ``(N, 1, 32, 32)``."""
    return normalise(pad(images, preprocessing.padding), preprocessing)


def pad(images: torch.Tensor, padding: int = 2) -> torch.Tensor:
    """Scale uint8 ``(N, 28, 28)`` to [0, 1] and frame it in black: float32 ``(N, 1, 32, 32)``.

    This comes before normalising, so that the frame has the colour of the paper. Zeros around a
    normalised digit would be grey.
    """
    return F.pad(images.unsqueeze(1).to(torch.float32) / 255, [padding] * 4)


def normalise(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Subtract the mean and divide by the standard deviation; shape and dtype stay the same."""
    mean, std = (
        torch.tensor(numbers, dtype=images.dtype, device=images.device).view(-1, 1, 1)
        for numbers in (preprocessing.mean, preprocessing.std)
    )
    return (images - mean) / std


def distort(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Rotate, shear, scale and shift each of the images ``(N, 1, 32, 32)`` at random.

    The images are padded and in [0, 1], not yet normalised, so that the zeros which move in at
    the edges are background. The random numbers are drawn on the CPU, so that a GPU distorts alike.
    """
    size = images.shape[-1]
    numbers = torch.rand(6, len(images), generator=random) * 2 - 1
    angle, shear, wide, high, right, down = numbers.unbind()
    angle = angle * math.radians(ROTATION_DEGREES)
    cos, sin = angle.cos(), angle.sin()
    wide, high = 1 + SCALE * wide, 1 + SCALE * high
    shift = 2 * SHIFT_PIXELS / size  # affine_grid counts from -1 to 1 across the image
    x_row = torch.stack([cos * wide, SHEAR * shear - sin * high, shift * right], dim=1)
    y_row = torch.stack([sin * wide, cos * high, shift * down], dim=1)
    theta = torch.stack([x_row, y_row], dim=1).to(images)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
