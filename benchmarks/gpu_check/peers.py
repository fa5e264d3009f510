"""PyTorch on the GPU without us: eager, and torch.compile with CUDA graphs."""

import copy
import itertools
import types
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.gpu_check.engines import Engine, engine_label
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.backends.torch.torch_cuda import (
    CudaTorchPredictor,
    TorchStages,
    precision,
    require,
)
from lenet_runtime.errors import DeployError

# What `torch.compile(mode="max-autotune")` sets, but that graphs are captured here, around what it
# compiles: PyTorch's own replay also copies the input and manages memory, which costs more.
MODE = "max-autotune-no-cudagraphs"
_TYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16}
_numbers = itertools.count()


def peers(device: str, sizes: tuple[int, ...]) -> list[Engine]:
    """In the order of their value."""
    return [
        Engine("eager", "eager", "fp32", device, sizes=sizes),
        *(
            Engine(engine_label("torch.compile", kind), "torch.compile", kind, device, sizes=sizes)
            for kind in ("fp16", "fp32")  # each takes a minute to compile for two batch sizes
        ),
        Engine("eager fp16", "eager", "fp16", device, sizes=sizes),
    ]


def build(engine: Engine) -> Predictor:
    """A `Predictor` with `stages`; raises `BackendUnavailable` where PyTorch has no such GPU."""
    from lenet_deploy.training.checkpoint import load_checkpoint

    require(engine.device)
    net = _In(load_checkpoint(), _TYPES[engine.precision]).eval().requires_grad_(False)
    net = net.to(engine.device)
    if engine.backend == "eager":
        return CudaTorchPredictor("eager", net, engine.device, tf32=engine.precision == "tf32")
    return Compiled(net, engine)


class _In(nn.Module):
    """Float32 in, float32 out, and another type in between."""

    def __init__(self, net: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.net, self.dtype = copy.deepcopy(net).to(dtype), dtype

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images.to(self.dtype)).float()


class Compiled(Predictor):
    """`torch.compile` for each batch size on its own, its kernels tuned for it."""

    def __init__(self, net: nn.Module, engine: Engine) -> None:
        self._net, self._name, self._sizes = net, engine.name, engine.sizes
        self._device, self._tf32 = engine.device, engine.precision == "tf32"
        self._by_size: dict[int, CudaTorchPredictor] = {}
        self._whole: dict[int, TorchStages] = {}

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """A whole call through pinned memory and a captured graph."""
        size = len(images)
        if size not in self._sizes:
            raise DeployError(f"{self._name} was not compiled for batches of {size} in time")
        if size not in self._whole:
            self._whole[size] = self._compiled(size).stages(images, graph=True)
        stages = self._whole[size]
        stages._host.copy_(torch.from_numpy(images))
        stages.upload()
        stages.compute()
        stages.download()
        return stages.answer()

    def stages(self, images: NDArray[np.float32], *, graph: bool) -> TorchStages | None:
        """None for a batch size that it was not compiled for."""
        if len(images) not in self._sizes:
            return None
        return self._compiled(len(images)).stages(images, graph=graph)

    def uses_graph(self, batch_size: int) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Drop what was compiled."""
        for stages in self._whole.values():
            stages.close()
        self._whole.clear()
        self._by_size.clear()

    def _compiled(self, size: int) -> CudaTorchPredictor:
        if size not in self._by_size:
            forward = torch.compile(_with_code_of_its_own(self._net), mode=MODE, dynamic=False)
            with torch.inference_mode(), torch.cuda.device(self._device), precision(self._tf32):
                # Made in here: for a tensor of another mode it would be compiled again.
                forward(torch.randn(size, 1, 32, 32, device=self._device))
            made = CudaTorchPredictor(self._name, forward, self._device, tf32=self._tf32)
            self._by_size[size] = made
        return self._by_size[size]


def _with_code_of_its_own(module: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """A copy whose `forward` is another code object, with which Dynamo keeps what it compiled."""
    forward = type(module).forward
    code = forward.__code__.replace(co_name=f"forward_{next(_numbers)}")
    twin = copy.deepcopy(module)
    twin.__class__ = type("In", (type(module),), {"forward": types.FunctionType(code, globals())})
    return twin
