"""The references of a parity check: the module itself, run by eager PyTorch on the CPU."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lenet_export.network import weights
from lenet_runtime.errors import InputError, first_line

_FLOATS = (torch.float16, torch.float32, torch.float64)


class Reference:
    """A module in eval mode, in float32 and in float64, as NumPy functions.

    The module is copied, so that the caller's own stays in the mode and on the device it is in.
    """

    def __init__(self, module: nn.Module) -> None:
        """Copy `module`; raises `InputError` where it is of a kind that cannot be exported."""
        weights.require_plain(module)
        try:
            self.module = copy.deepcopy(module).cpu().eval().requires_grad_(False)
            self._wide = copy.deepcopy(self.module).double()
        except Exception as error:  # somebody else's code may raise anything
            raise InputError(f"module: it cannot be copied ({first_line(error)})") from error

    def eager(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits ``(N, K)`` of images ``(N, C, H, W)`` in float32 arithmetic."""
        logits: NDArray[np.float32] = _logits(self.module, torch.tensor(images))
        return logits

    def exact(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Logits ``(N, K)`` of the same images in float64 arithmetic."""
        logits: NDArray[np.float64] = _logits(self._wide, torch.tensor(images, dtype=torch.float64))
        return logits


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute in one thread: sums that several split round otherwise for each number
    of them, and files would differ from one machine to the next."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _logits(module: nn.Module, images: torch.Tensor) -> NDArray[Any]:
    """Run `module` on a copy of `images`.

    Raises:
        InputError: it raised, whatever that was, wrote into its input, or gave no tensor.
    """
    copy_of_images = images.clone()
    kind = f"{images.dtype} images {tuple(images.shape)}".removeprefix("torch.")
    try:
        with torch.inference_mode(), one_thread():
            logits = module(copy_of_images)
    except Exception as error:  # somebody else's code may raise anything
        others = {t.dtype for t in module.parameters() if t.dtype != images.dtype}
        hint = f"; its weights are {others.pop()}, pass module.float()" if others else ""
        raise InputError(f"module: it fails on {kind} ({first_line(error)}){hint}") from error
    if not torch.equal(copy_of_images, images):
        # So would the artifact, into the memory of whoever calls it.
        raise InputError("module: it writes into its input; let it work on a copy, x.clone()")
    if not isinstance(logits, torch.Tensor) or logits.dtype not in _FLOATS:
        found = logits.dtype if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise InputError(f"module: expected a tensor of logits of {kind}, found {found}")
    return logits.numpy()
