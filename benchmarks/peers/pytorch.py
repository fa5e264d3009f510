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


def _from_numpy(forward: Callable[[torch.Tensor], torch.Tensor]) -> Peer:
    def run(images: Images) -> Logits:
        with torch.inference_mode():
            return forward(torch.from_numpy(images)).numpy()

    return run


def eager(work: Work) -> Peer:
    """The module itself, under `inference_mode`."""
    return _from_numpy(work.net)


@by_batch_size
def compiled(work: Work, batch_size: int, options: dict[str, Any]) -> Peer:
    """`torch.compile` for one batch size."""
    from torch._inductor import config

    forward = torch.compile(with_code_of_its_own(work.net), dynamic=False)
    # Dynamo does not see `options=`: it would keep weights as inputs, and nothing would freeze.
    with config.patch(options), torch.no_grad():
        forward(torch.zeros(batch_size, 1, 32, 32))

    def run(images: Images) -> Logits:
        with torch.no_grad():  # as in compilation; inference mode would compile again
            return forward(torch.from_numpy(images)).numpy()

    return run


def with_code_of_its_own(module: nn.Module) -> nn.Module:
    """Copy `module` with another code object as its `forward`.

    Dynamo attaches all compiled programs to the code object and tries them one after the other
    at each call; peers must not wait for each other's guards.
    """
    forward = type(module).forward
    code = forward.__code__.replace(co_name=f"forward_{next(_numbers)}")
    twin = copy.deepcopy(module)
    methods = {"forward": types.FunctionType(code, forward.__globals__)}
    twin.__class__ = type("Net", (type(module),), methods)
    return twin


def torchscript(work: Work, *, optimized: bool) -> Peer:
    """A traced and frozen module; `optimized` adds `optimize_for_inference`, which uses oneDNN."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        frozen = torch.jit.freeze(torch.jit.trace(work.net, torch.zeros(2, 1, 32, 32)))
        if optimized:
            frozen = torch.jit.optimize_for_inference(frozen)
    return _from_numpy(frozen)


@by_batch_size
def aot_inductor(work: Work, batch_size: int, name: str, options: dict[str, Any]) -> Peer:
    """An AOTInductor package of one batch size, run by the public loader.

    It is kept for this CPU, model and release, because max-autotune takes minutes.
    """
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
    return _from_numpy(torch._inductor.aoti_load_package(str(path)))
