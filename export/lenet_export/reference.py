"""The references of a parity check: the module itself, run by eager PyTorch on the CPU."""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


class Reference:
    """A module in eval mode, in float32 and in float64, as NumPy functions.

    The module is copied, so that the caller's own stays in the mode and on the device it is in.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = copy.deepcopy(module).cpu().eval().requires_grad_(False)
        self._wide = copy.deepcopy(self.module).double()

    def eager(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits ``(N, 10)`` of images ``(N, 1, 32, 32)`` in float32 arithmetic."""
        with torch.inference_mode():
            logits: NDArray[np.float32] = self.module(torch.from_numpy(images)).numpy()
        return logits

    def exact(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Logits ``(N, 10)`` of the same images in float64 arithmetic."""
        with torch.inference_mode():
            logits: NDArray[np.float64] = self._wide(torch.from_numpy(images).double()).numpy()
        return logits
