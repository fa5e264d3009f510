"""PyTorch's own ways to run a module: eager, `torch.compile`, TorchScript and AOTInductor."""

import copy
import itertools
import shutil
import types
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.peers.work import Images, Logits, Peer, Work, by_batch_size

FREEZING = {"freezing": True}
MAX_AUTOTUNE = {"max_autotune": True}
BOTH = FREEZING | MAX_AUTOTUNE

_numbers = itertools.count()


def _called(forward: Callable[[torch.Tensor], torch.Tensor]) -> Peer:
    def run(images: Images) -> Logits:
        with torch.inference_mode():
            return forward(torch.from_numpy(images)).numpy()

    return run


def eager(work: Work) -> Peer:
    """The module itself, under `inference_mode`."""
    return _called(work.net)


def compiled(work: Work, options: dict[str, Any]) -> Peer:
    """`torch.compile`, for each batch size on its own."""
    return by_batch_size(work, lambda size: _compiled(work, size, options))


def _compiled(work: Work, batch_size: int, options: dict[str, Any]) -> Peer:
    from torch._inductor import config

    forward = torch.compile(with_code_of_its_own(work.net), dynamic=False)
    # Not `options=`, which Dynamo does not see: it keeps weights as inputs, and nothing freezes.
    with config.patch(options), torch.no_grad():
        forward(torch.zeros(batch_size, 1, 32, 32))

    def run(images: Images) -> Logits:
        with torch.no_grad():  # what it was compiled under; inference mode would compile again
            return forward(torch.from_numpy(images)).numpy()

    return run


def with_code_of_its_own(module: nn.Module) -> nn.Module:
    """A copy whose `forward` is another code object.

    Dynamo keeps what it compiled with the code object and tries one after the other at each
    call; peers must not wait for each other's guards.
    """
    forward = type(module).forward
    code = forward.__code__.replace(co_name=f"forward_{next(_numbers)}")
    twin = copy.deepcopy(module)
    methods = {"forward": types.FunctionType(code, forward.__globals__)}
    twin.__class__ = type("Net", (type(module),), methods)
    return twin


def torchscript(work: Work, *, optimized: bool) -> Peer:
    """Traced and frozen; `optimized` by `optimize_for_inference` too, which brings oneDNN."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        frozen = torch.jit.freeze(torch.jit.trace(work.net, torch.zeros(2, 1, 32, 32)))
        if optimized:
            frozen = torch.jit.optimize_for_inference(frozen)
    return _called(frozen)


def aot_inductor(work: Work, name: str, options: dict[str, Any]) -> Peer:
    """A package for each batch size, by the public loader."""
    return by_batch_size(work, lambda size: _called(_package(work, name, size, options)))


def _package(work: Work, name: str, batch_size: int, options: dict[str, Any]) -> Any:
    """Compiled once for this CPU, model and release: max-autotune takes minutes."""
    import torch._inductor

    folder = work.cache / f"aoti-torch{torch.__version__}-{work.key}"
    path = folder / f"{name}-{batch_size}.pt2"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        fresh = work.scratch / path.name
        with torch.no_grad():
            program = torch.export.export(work.net, (torch.zeros(batch_size, 1, 32, 32),))
            torch._inductor.aoti_compile_and_package(  # freezes nothing where gradients are on
                program, package_path=str(fresh), inductor_configs=options
            )
        shutil.move(fresh, path)
    return torch._inductor.aoti_load_package(str(path))
