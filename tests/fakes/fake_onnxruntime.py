"""ONNX Runtime with a GPU, without a GPU: its CPU provider computes, on `cuda_driver.FakeDriver`.

`install` puts it in place of the real one's sessions, and returns a `Machine`, which breaks in the
ways that a real one does and remembers what it was asked. A session's work goes onto the fake
driver's streams, as a kernel, so a graph that is captured holds it.
"""

import ctypes
import dataclasses
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from cuda_driver import floats

import lenet_runtime
from lenet_runtime import cuda
from lenet_runtime.backends.ort import libraries, ort_cuda, ort_tensorrt

CPU = "CPUExecutionProvider"
RealSession = onnxruntime.InferenceSession
_TYPES = (ctypes.c_ulonglong, ctypes.c_ulonglong, ctypes.c_int, ctypes.c_int, ctypes.c_int)


@dataclass
class Machine:
    """A GPU with its faults.

    Attributes:
        driver: its driver.
        falls_back: sessions run on the CPU, silently.
        on_cpu: this many nodes do.
        loses: these options of the provider.
        empty_graphs: graphs compute nothing.
        memory: images that fit into a session's run, and None for any number.
        missing: libraries.
        gpu: what is otherwise of the driver's GPU.
    """

    driver: Any
    falls_back: bool = False
    on_cpu: int = 0
    loses: tuple[str, ...] = ()
    empty_graphs: bool = False
    memory: int | None = None
    missing: tuple[str, ...] = ()
    gpu: SimpleNamespace = field(default_factory=SimpleNamespace)
    asked: list = field(default_factory=list)  # (providers, session configuration) of sessions
    sessions: list = field(default_factory=list)
    runs: list = field(default_factory=list)  # batch sizes that ONNX Runtime computed
    launches: list = field(default_factory=list)  # batch sizes that graphs computed

    def kernel(self, values, blocks, threads, shared):
        """Compute a batch, by itself or in a graph."""
        source, target, size, captured, number = values
        (self.launches if captured else self.runs).append(size)
        if not (captured and self.empty_graphs):
            images = floats(source, size, 1, 32, 32)
            (floats(target, size, 10)[:],) = self.sessions[number].run(None, {"images": images})


class Binding:
    """What an `IOBinding` was told: shapes and addresses."""

    def bind_input(self, name, device, index, dtype, shape, pointer):
        assert (name, device, index, dtype) == ("images", "cuda", 0, np.float32)
        assert shape[1:] == [1, 32, 32]
        self.size, self.source = shape[0], pointer

    def bind_output(self, name, device, index, dtype, shape, pointer):
        assert (name, device, index, dtype) == ("logits", "cuda", 0, np.float32)
        assert shape == [self.size, 10]
        self.target = pointer


class FakeSession:
    """An `InferenceSession` on a GPU."""

    def __init__(self, machine, data, options, providers, enable_fallback):
        assert enable_fallback == 0
        self.machine = machine
        entries = ("session.disable_cpu_ep_fallback", "session.record_ep_graph_assignment_info")
        config = {name: options.get_session_config_entry(name) for name in entries}
        machine.asked.append((providers, config, options.intra_op_num_threads))
        ((self.provider, self.settings),) = providers
        plain = onnxruntime.SessionOptions()
        plain.log_severity_level = 4
        plain.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        self.real = RealSession(data, plain, providers=[CPU])
        self.number = len(machine.sessions)
        machine.sessions.append(self.real)
        self.get_inputs, self.get_outputs = self.real.get_inputs, self.real.get_outputs

    def get_providers(self):
        return [CPU] if self.machine.falls_back else [self.provider, CPU]

    def get_provider_options(self):
        kept = {k: v for k, v in self.settings.items() if k not in self.machine.loses}
        return {self.provider: kept, CPU: {}}

    def get_provider_graph_assignment_info(self):
        parts = self.real.get_provider_graph_assignment_info()
        names = [CPU] * self.machine.on_cpu + [self.provider] * len(parts)
        return [
            SimpleNamespace(ep_name=name, get_nodes=part.get_nodes)
            for name, part in zip(names, parts, strict=False)
        ]

    def io_binding(self):
        return Binding()

    def run_with_iobinding(self, binding, options):
        entry = options.get_run_config_entry("disable_synchronize_execution_providers")
        assert entry == "1"
        if self.machine.memory is not None and binding.size > self.machine.memory:
            raise RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 9")
        driver, stream = self.machine.driver, int(self.settings["user_compute_stream"])
        addresses = binding.source, binding.target
        driver.launch("net", stream, *addresses, binding.size, driver.capturing, self.number)


def load(artifact, backend="ort-cuda", device="cuda"):
    return lenet_runtime.load(artifact.path, backend=backend, device=device)


def same(found, expected):
    """Padded to another batch size, the last bits may differ."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def install(monkeypatch, tmp_path, driver):
    """Put the fake in place; returns its `Machine`."""
    machine, real_gpu = Machine(driver), cuda.gpu
    driver.kernel("net", machine.kernel, _TYPES)

    def session(data, options, *, providers, enable_fallback):
        if providers == [CPU]:
            return RealSession(data, options, providers=providers, enable_fallback=0)
        return FakeSession(machine, data, options, providers, enable_fallback)

    def gpu(index):
        return dataclasses.replace(real_gpu(index), **vars(machine.gpu))

    monkeypatch.setattr(cuda, "gpu", gpu)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "cuda_version", "13.0", raising=False)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers",
        lambda: [ort_tensorrt.PROVIDER, ort_cuda.PROVIDER, CPU],
    )  # fmt: skip
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(libraries, "missing", lambda files, more: list(machine.missing))
    monkeypatch.setattr(libraries, "needed", lambda file: ["libnvinfer.so.10"])
    nvinfer = SimpleNamespace(getInferLibVersion=lambda: 101302)
    monkeypatch.setattr(libraries, "load", lambda name: nvinfer)
    return machine
