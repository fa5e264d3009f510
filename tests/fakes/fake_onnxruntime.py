"""ONNX Runtime with a GPU, without a GPU: its CPU provider computes, on "device" memory in RAM.

`install` puts it in place of the real one's sessions and of `lenet_runtime.cuda`, and returns a
`Machine`, which breaks in the ways that a real one does and remembers what it was asked.
"""

import contextlib
import ctypes
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import onnxruntime

from lenet_runtime.backends.ort import gpu as ort_gpu
from lenet_runtime.backends.ort import libraries, ort_cuda, ort_tensorrt, strict
from lenet_runtime.errors import BackendUnavailable, DeployError, DeviceMemoryError

CPU = "CPUExecutionProvider"
RealSession = onnxruntime.InferenceSession


@dataclass
class Machine:
    """A GPU with its faults.

    Attributes:
        falls_back: sessions run on the CPU, silently.
        on_cpu: this many nodes do.
        loses: these options of the provider.
        capture_fails: where a stream is captured.
        replay: what a graph does instead of computing: "nothing".
        memory: images that fit into a session's run, and None for any number.
        free_bytes: that can be allocated.
        missing: libraries.
    """

    falls_back: bool = False
    on_cpu: int = 0
    loses: tuple[str, ...] = ()
    capture_fails: bool = False
    replay: str = ""
    memory: int | None = None
    free_bytes: int = 2**40
    missing: tuple[str, ...] = ()
    gpu: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(
            index=0, name="Fake", uuid="0", compute_capability="9.0", driver="13.0"
        )
    )
    asked: list = field(default_factory=list)  # (providers, session configuration) of sessions
    runs: list = field(default_factory=list)  # batch sizes that ONNX Runtime computed
    launches: list = field(default_factory=list)  # batch sizes that graphs computed
    log: list = field(default_factory=list)  # of the last stream: upload, compute, ...
    contexts: list = field(default_factory=list)
    streams: dict = field(default_factory=dict)
    held_bytes: int = 0


class Memory:
    """Some bytes of RAM, as device or pinned memory."""

    def __init__(self, machine, nbytes):
        if machine.held_bytes + nbytes > machine.free_bytes:
            raise DeviceMemoryError("CUDA: allocating failed with error 2")
        machine.held_bytes += nbytes
        self.machine, self.nbytes = machine, nbytes
        self.array = np.full(nbytes, 0xFF, np.uint8)  # NaN: nobody may count on zeros
        self.pointer = self.array.ctypes.data

    def close(self):
        self.machine.held_bytes -= self.nbytes
        self.nbytes = 0


class Stream:
    def __init__(self, machine):
        self.machine, self.handle, self.recorded = machine, 4711 + len(machine.streams), None
        machine.streams[self.handle] = self

    def upload(self, target, source, nbytes):
        self.machine.log.append("upload")
        ctypes.memmove(target, source, nbytes)

    def download(self, target, source, nbytes):
        self.machine.log.append("download")
        ctypes.memmove(target, source, nbytes)

    def synchronize(self):
        assert self.recorded is None, "a wait cannot be captured"
        self.machine.log.append("synchronize")

    def capture(self, work):
        self.recorded = []
        try:
            work()
            if self.machine.capture_fails:
                raise DeployError("CUDA: capturing a graph failed with error 900")
        finally:
            recorded, self.recorded = self.recorded, None
        return Graph(self.machine, recorded)


class Graph:
    def __init__(self, machine, work):
        self.machine, self.work, self.closed = machine, work, False

    def launch(self, stream):
        assert not self.closed
        for size, step in self.work:
            self.machine.log.append("graph")
            self.machine.launches.append(size)
            if self.machine.replay != "nothing":
                step()

    def close(self):
        self.closed = True


class Context:
    def __init__(self, machine, index):
        if index != machine.gpu.index:
            raise BackendUnavailable(f"device: no 'cuda:{index}' on this machine")
        self.machine, self.gpu, self.inside, self.closed = machine, machine.gpu, 0, False
        machine.contexts.append(self)

    def __enter__(self):
        assert not self.closed
        self.inside += 1
        return self

    def __exit__(self, *_):
        self.inside -= 1

    def allocate(self, nbytes):
        assert self.inside
        return Memory(self.machine, nbytes)

    pinned = allocate

    def stream(self):
        return Stream(self.machine)

    def close(self):
        self.closed = True


class Binding:
    """What an `IOBinding` was told: shapes and addresses."""

    def bind_input(self, name, device, index, dtype, shape, pointer):
        assert (device, index, dtype) == ("cuda", 0, np.float32)
        self.input = (name, shape, pointer)

    def bind_output(self, name, device, index, dtype, shape, pointer):
        assert (device, index, dtype) == ("cuda", 0, np.float32)
        self.output = (name, shape, pointer)


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
        size = binding.input[1][0]
        if self.machine.memory is not None and size > self.machine.memory:
            raise RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 9")

        def step():
            self._compute(binding)

        stream = self.machine.streams[int(self.settings["user_compute_stream"])]
        if stream.recorded is not None:
            stream.recorded.append((size, step))
        else:
            self.machine.log.append("run")
            self.machine.runs.append(size)
            step()

    def _compute(self, binding):
        (source, shape, where), (target, answers, there) = binding.input, binding.output
        (logits,) = self.real.run([target], {source: view(where, shape)})
        view(there, answers)[:] = logits


def view(pointer, shape):
    kind = ctypes.c_float * int(np.prod(shape))
    return np.ctypeslib.as_array(kind.from_address(pointer)).reshape(shape)


def install(monkeypatch, tmp_path, **faults):
    """Put the fake in place; returns its `Machine`."""
    machine = Machine(**faults)

    def session(data, options, *, providers, enable_fallback):
        if providers == [CPU]:
            return RealSession(data, options, providers=providers, enable_fallback=0)
        return FakeSession(machine, data, options, providers, enable_fallback)

    def gpu(index):
        with contextlib.closing(Context(machine, index)) as context:
            machine.contexts.pop()
            return context.gpu

    cuda = SimpleNamespace(Context=lambda index: Context(machine, index), gpu=gpu, Gpu=None)
    for module in (ort_gpu, strict, ort_tensorrt):
        monkeypatch.setattr(module, "cuda", cuda)
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
