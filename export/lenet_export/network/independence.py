"""Whether an image's logits depend on the images beside it, or on chance: asked of the module.

Runtimes cut batches into chunks, fill them up and send them to one engine or another by their size,
so a module that looks at its batch has no right answer there.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lenet_export.network.reference import Reference
from lenet_runtime.errors import InputError
from lenet_runtime.parity import TOLERANCES, Tolerance, compare

# In float64, where the kernels' own rounding is far below, an eighth of what fp32 may be off by.
_EXACT = Tolerance(1e-30, TOLERANCES["fp32"].rtol / 8, min_top1=0, min_top1_noise=0)
_BRIGHT = np.float32(3)  # added to every other image, so that batches differ in their statistics


def require(reference: Reference, digits: NDArray[np.float32], static_batch: int | None) -> None:
    """Refuse a module whose logits of an image depend on its batch, or on the call.

    Args:
        reference: the module, in float32 and in float64; both are tried.
        digits: images ``(N, C, H, W)``.
        static_batch: the only batch size to try, or None to try single images, too.

    Raises:
        InputError: they do; names the layer where they begin to. Or the module fails, see
            `Reference`.
    """
    size = static_batch or min(len(digits), 12)
    batch = np.resize(digits, (size, *digits.shape[1:])).copy()
    batch[1::2] += _BRIGHT
    alone = np.repeat(batch[:1], static_batch or 1, axis=0)
    for run, tolerance in ((reference.eager, TOLERANCES["fp32"]), (reference.exact, _EXACT)):
        first = run(batch)
        again, turned, single = run(batch), run(batch[::-1].copy())[::-1], run(alone)
        if not compare(again, first, tolerance).ok:
            raise InputError(
                "module: expected equal logits for equal images, found others at the second "
                f"call, {_where(reference.module, batch, batch)}; switch off what is random "
                "in it, such as a dropout that eval() does not reach"
            )
        for others, rows in ((turned, first), (single, first[:1].repeat(len(single), axis=0))):
            if not compare(others, rows, tolerance).ok:
                raise InputError(
                    "module: expected an image's logits not to depend on the images beside it, "
                    f"found that they do, {_where(reference.module, batch, alone)}; let each "
                    "image be computed by itself (a batch normalization must track running "
                    "statistics and be in eval mode)"
                )


def _where(module: torch.nn.Module, batch: NDArray[np.float32], other: NDArray[np.float32]) -> str:
    """The first layer that answers the first image of two batches otherwise."""
    layers = {
        layer: f"{name} ({type(layer).__name__})"
        for name, layer in module.named_modules()
        if name and not any(layer.children())
    }
    calls: list[tuple[str, torch.Tensor]] = []

    def note(layer: torch.nn.Module, inputs: Any, output: Any) -> None:
        for words, value in (("before its layer", inputs[:1]), ("from its layer", (output,))):
            if value and isinstance(value[0], torch.Tensor):
                calls.append((f"{words} {layers[layer]}", value[0][0].detach().double()))

    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        with torch.inference_mode():
            module(torch.tensor(batch))
            middle = len(calls)
            module(torch.tensor(other))
    finally:
        for hook in hooks:
            hook.remove()
    for (name, first), (_, second) in zip(calls[:middle], calls[middle:], strict=False):
        scale = float(first.abs().max()) if first.numel() else 0.0
        if first.shape != second.shape or float((first - second).abs().max()) > 1e-4 * scale:
            return name
    return "in what its own forward does"
