"""A machine with a pretended GPU: put this folder on PYTHONPATH, and every process has it.

CPU engines pretend to have steps, and the host's clock stands in for events. `native` plays
`fused-cuda`, ONNX Runtime plays `ort-cuda`, and PyTorch on the CPU plays the peers; TorchScript
and torch-compile, which find no GPU, show what failures look like. For rehearsals of
benchmarks.gpu_check: its figures mean nothing.
"""

import contextlib
import dataclasses
import os
import time

from host_stages import Staged

from lenet_bench.gpu import state, stopwatch
from lenet_runtime import cuda
from lenet_runtime.artifact import requirements
from lenet_runtime.backends import BACKENDS, Backend

GPU = cuda.Gpu(0, "Pretended GPU", "00" * 16, "9.0", 2**36, 132, 2**17, "13.0")
STATE = {
    "power_w": 300.0, "power_limit_w": 700.0, "sm_mhz": 1980.0, "memory_mhz": 3201.0,
    "sm_max_mhz": 1980.0, "temperature_c": 40.0, "utilization_percent": 99.0,
    "memory_used_mib": 1000.0, "memory_total_mib": 143771.0, "performance_state": "P0",
    "driver": "580.0", "throttle_reasons": ["power cap"],
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class PretendedBackend(Backend):
    def probe(self, device):
        return self._module().probe("cpu")

    def load(self, artifact, device, threads):
        if os.environ.get("REHEARSAL_DIES") == self.module and "latency" in os.sys.argv[1:2]:
            os.abort()
        return Staged(self._module().load(artifact, "cpu", threads))


class HostStopwatch:
    hold_us, bytes_per_second, copy_bytes = 500.0, 4e12, 2**30

    def span_us(self, work, stream, *, hold):
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) * 1e6, hold


@contextlib.contextmanager
def opened(index, copy_bytes=0):
    yield HostStopwatch()


class Watch(state.Watch):
    def _start(self):
        self._states += [STATE, STATE | {"power_w": 500.0, "sm_mhz": 1755.0}]


def pretended(name, module):
    fields = {f.name: getattr(BACKENDS[name], f.name) for f in dataclasses.fields(Backend)}
    return PretendedBackend(**fields | {"devices": ("cuda",), "module": module})


cuda.gpu = lambda index: GPU
requirements.unmet = lambda manifest, backend, device: []
state.read, state.Watch, stopwatch.opened = (lambda gpu: dict(STATE)), Watch, opened
BACKENDS["ort-cuda"] = pretended("ort-cpu", "lenet_runtime.backends.ort.ort_cpu")
BACKENDS["fused-cuda"] = pretended("native", "lenet_runtime.backends.native")

if "benchmarks.gpu_check.worker" in " ".join(os.sys.orig_argv):
    from benchmarks.gpu_check import peers
    from lenet_deploy.training.checkpoint import load_checkpoint
    from lenet_runtime.backends.torch.core import TorchPredictor

    def build(name, precision, device, *, compiled):
        return Staged(TorchPredictor(name, load_checkpoint().requires_grad_(False), 1))

    peers.build = build
