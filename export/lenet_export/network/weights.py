"""What is asked of a module's weights before it is exported, and the name of their content."""

import os
from collections.abc import Mapping

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from lenet_runtime.artifact.graph import admission
from lenet_runtime.errors import InputError

# Classes by name, for to import some takes long: where they keep the network that they wrap,
_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
    "OptimizedModule": "_orig_mod",
}
# and what makes the weights of their hooks plain ones.
_HOOKS = {
    "BasePruningMethod": "torch.nn.utils.prune.remove(layer, 'weight')",
    "WeightNorm": "torch.nn.utils.remove_weight_norm(layer)",
    "SpectralNorm": "torch.nn.utils.remove_spectral_norm(layer)",
}


def fingerprint(module: nn.Module) -> str:
    """SHA-256 of the state dict: name, dtype, shape and little-endian bytes, sorted by name.

    Two modules with equal weights have equal fingerprints, whatever file they came from.
    """
    return admission.fingerprint(
        # Viewed as bytes, because NumPy has no bfloat16.
        (name, str(tensor.dtype), tuple(tensor.shape),
         tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        for name, tensor in _tensors(module).items()
    )  # fmt: skip


def require_plain(module: nn.Module) -> None:
    """Raise `InputError`, which says what to pass instead, for modules that hold no plain weights.

    Such are wrappers round another module, and modules whose weights are not there yet, are codes
    of a quantization, or are computed anew by hooks of PyTorch's old style before each forward.
    """
    if not isinstance(module, nn.Module):
        raise InputError(f"module: expected a torch.nn.Module, found {_foreign(module)}")
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError(
            "module: expected a module of Python's, found TorchScript, scripted or traced; "
            "pass the module that it was made of"
        )
    for kind in type(module).__mro__:
        if kind.__name__ in _WRAPPERS:
            raise InputError(
                f"module: expected the network itself, found {kind.__name__} round it; pass "
                f"module.{_WRAPPERS[kind.__name__]}"
            )
    for name, layer in module.named_modules():
        for hook in getattr(layer, "_forward_pre_hooks", {}).values():
            for base in type(hook).__mro__:
                if base.__name__ in _HOOKS:
                    raise InputError(
                        f"module: expected weights, found {type(hook).__name__} of layer {name!r}, "
                        f"which computes them; make it permanent, {_HOOKS[base.__name__]}"
                    )
        if "quantized" in type(layer).__module__.split("."):
            raise InputError(
                f"module: expected float32 layers, found {type(layer).__name__} as {name!r}; pass "
                "the network before it was quantized, and --precision int8 for a quantized artifact"
            )
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise InputError(f"module: {name} has no shape yet; call it once on images first")
        if tensor.is_meta or isinstance(tensor, FakeTensor):
            raise InputError(
                f"module: {name} has a shape and no values (a meta or fake tensor); make the "
                "module on a real device, or module.to_empty(device='cpu'), and load its weights"
            )


def _foreign(value: object) -> str:
    """What was passed in the place of a module, and what to do about it."""
    name = type(value).__name__
    if isinstance(value, str | os.PathLike):
        return (
            f"the path {os.fspath(value)!r}; make the module and load its weights first, "
            "module.load_state_dict(torch.load(path, weights_only=True))"
        )
    if isinstance(value, Mapping):
        return (
            f"{name} (a state dict or a checkpoint); make the module that it belongs to, call "
            "module.load_state_dict with it, and pass the module"
        )
    if isinstance(value, type):
        return f"the class {value.__name__}; pass an instance, {value.__name__}()"
    if name == "ExportedProgram":
        return f"{name}; pass program.module(), or the module that it was made of"
    return name


def require_finite(module: nn.Module) -> None:
    """Raise `InputError` naming every tensor that holds NaN or infinity."""
    bad = [
        f"{name} ({int((~torch.isfinite(tensor)).sum())} of {tensor.numel()})"
        for name, tensor in _tensors(module).items()
        if not bool(torch.isfinite(tensor).all())
    ]
    if bad:
        raise InputError(
            f"weights: expected finite values, found NaN or infinity in {', '.join(bad)}; "
            "the training diverged: use an earlier checkpoint"
        )


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict without what a module may keep there that is none."""
    state = module.state_dict().items()
    return {name: value for name, value in state if isinstance(value, torch.Tensor)}
