"""PyTorch on the GPU without us: eager, and torch.compile with CUDA graphs."""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.peers.pytorch import with_code_of_its_own
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.backends.torch.torch_cuda import (
    CudaTorchPredictor,
    Forward,
    TorchStages,
    precision,
    require,
)

# What `torch.compile(mode="max-autotune")` sets, but that graphs are captured here, around what it
# compiles: PyTorch's own replay also copies the input and manages memory, which costs more.
MODE = "max-autotune-no-cudagraphs"
_TYPES = {"fp32": torch.float32, "fp16": torch.float16}


def build(name: str, precision: str, device: str, *, compiled: bool) -> Predictor:
    """An engine with stages: eager, or compiled for each batch size that comes.

    Raises:
        BackendUnavailable: PyTorch has no such GPU.
    """
    from lenet_deploy.training.checkpoint import load_checkpoint

    require(device)
    net = _In(load_checkpoint(), _TYPES[precision]).eval().requires_grad_(False).to(device)
    return Compiled(net, name, device) if compiled else predictor(net, name, device)


def predictor(forward: Forward, name: str, device: str) -> CudaTorchPredictor:
    return CudaTorchPredictor(name, forward, device, tf32=False)


class _In(nn.Module):
    """Float32 in, float32 out, and another type in between."""

    def __init__(self, net: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.net, self.dtype = copy.deepcopy(net).to(dtype), dtype

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images.to(self.dtype)).float()


class Compiled(Predictor):
    """`torch.compile` for each batch size on its own, its kernels tuned for it."""

    def __init__(self, net: nn.Module, name: str, device: str) -> None:
        self._net, self._name, self._device = net, name, device
        self._by_size: dict[int, CudaTorchPredictor] = {}
        self._calls: dict[int, TorchStages] = {}

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """A whole call through pinned memory and a captured graph."""
        size = len(images)
        if size not in self._calls:
            self._calls[size] = self.stages(images, graph=True)
        stages = self._calls[size]
        stages._host.copy_(torch.from_numpy(images))
        stages.upload()
        stages.compute()
        stages.download()
        return stages.answer()

    def stages(self, images: NDArray[np.float32], *, graph: bool) -> TorchStages:
        """The steps of this batch; the first batch of its size is waited for."""
        size = len(images)
        if size not in self._by_size:
            forward = torch.compile(with_code_of_its_own(self._net), mode=MODE, dynamic=False)
            with torch.inference_mode(), torch.cuda.device(self._device), precision(tf32=False):
                # Made in here: for a tensor of another mode it would be compiled again.
                forward(torch.randn(size, 1, 32, 32, device=self._device))
            self._by_size[size] = predictor(forward, self._name, self._device)
        return self._by_size[size].stages(images, graph=graph)

    def uses_graph(self, batch_size: int) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Drop what was compiled."""
        for stages in self._calls.values():
            stages.close()
        self._calls.clear()
        self._by_size.clear()
