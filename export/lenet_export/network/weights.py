"""What is asked of a module's weights before it is exported, and the name of their content."""

import torch
from torch import nn

from lenet_runtime.artifact.graph import admission
from lenet_runtime.errors import InputError


def fingerprint(module: nn.Module) -> str:
    """SHA-256 of the state dict: name, dtype, shape and little-endian bytes, sorted by name.

    Two modules with equal weights have equal fingerprints, whatever file they came from.
    """
    return admission.fingerprint(
        # Viewed as bytes, because NumPy has no bfloat16.
        (name, str(tensor.dtype), tuple(tensor.shape),
         tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        for name, tensor in module.state_dict().items()
    )  # fmt: skip


def require_finite(module: nn.Module) -> None:
    """Raise `InputError` naming every tensor that holds NaN or infinity."""
    bad = [
        f"{name} ({int((~torch.isfinite(tensor)).sum())} of {tensor.numel()})"
        for name, tensor in module.state_dict().items()
        if not bool(torch.isfinite(tensor).all())
    ]
    if bad:
        raise InputError(
            f"weights: expected finite values, found NaN or infinity in {', '.join(bad)}; "
            "the training diverged: use an earlier checkpoint"
        )
