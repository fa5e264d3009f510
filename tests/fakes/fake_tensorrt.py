"""TensorRT without a GPU: engines that compute on `cuda_driver.FakeDriver`.

An engine's bytes are JSON behind the word ``fake``. Work goes onto the fake driver's streams, as a
kernel, so a graph that is captured holds it and an answer that is read too early is poison.
"""

import dataclasses
import json
import types
from importlib.machinery import ModuleSpec

from artifact_files import golden_bytes, make_manifest
from cuda_driver import TYPES, on_images

from lenet_runtime.artifact import Artifact, Requirements

VERSION = "10.9.0.34"
MAGIC = b"fake"
SCRATCH = 4096
DAMAGED = (
    "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
    "header.magicTag == kEXPECTED_MAGIC_TAG failed.)"
)
NO_MEMORY = "Error Code 2: OutOfMemory (Requested size was 34627584 bytes.)"


def layers_text(kinds):
    """What the engine inspector tells: a layer for each node, in TensorRT-RTX's words."""
    words = {"fp32": "Float", "fp16": "Half", "bf16": "BFloat16", "int8": "Int8"}
    lines = [
        f"Name: {node}_myl0_1, LayerType: gemm, Inputs: [ {{ Name: x, Dimensions: [-1,576], "
        f"Strides: [576,1], Datatype: {words[kind]}, Format: (Linear) Row major linear format }}], "
        f"Constants: [], Outputs: [ {{ Name: y, Dimensions: [-1,10], Datatype: {words[kind]}, "
        f"Format: (Linear) }}], TacticName: , StreamId: 0, Metadata: [ONNX Layer: {node}]"
        for node, kind in kinds.items()
    ]
    return "\n".join(["Layers:", *lines])


def engine_bytes(profile=(1, 4, 8), batch=None, kinds=None, dtype="FLOAT"):
    """A serialized engine; `kinds` are the types of its layers, by node."""
    size = -1 if batch is None else batch
    tensors = {"images": [dtype, [size, 1, 32, 32]], "logits": ["FLOAT", [size, 10]]}
    document = {
        "profile": profile,
        "tensors": tensors,
        "layers": layers_text(kinds or {"conv1": "fp32"}),
    }
    return MAGIC + json.dumps(document).encode()


def write(folder, data, batch=None, precision="fp32", kernels=None, **needs):
    """An artifact of the format with `data` as its engine."""
    files = {"model.engine": data, "golden.npz": golden_bytes(batch or 4)}
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    changes = {"profile": (1, 4, 8) if batch is None else (batch,) * 3} | needs
    requirements = Requirements("cuda", "tensorrt", VERSION, compute_capability=(8.6,))
    manifest = make_manifest(
        files,
        batch,
        format="tensorrt",
        precision=precision,
        kernels=kernels or {"conv1": ("fp32", "gemm")},
        requirements=dataclasses.replace(requirements, **changes),
    )
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    return Artifact.open(folder)


class State:
    """What a test tells the fake, and asks it.

    Attributes:
        driver: what the engines compute on.
        compute: logits of images, in NumPy.
        refuses: the error with which nothing is deserialized; empty for none.
        fails: the error with which nothing is executed; empty for none.
        contexts: that were made and are alive.
        capturable: whether work can be captured in a graph.
    """

    def __init__(self, fake_driver, compute):
        self.driver, self.compute = fake_driver, compute
        self.refuses = self.fails = ""
        self.makes_contexts = self.capturable = True
        self.contexts = self.executions = 0
        self.recorders = []
        self.configs = []
        kernel = on_images(lambda images: self.compute(images.copy()))
        fake_driver.kernel("tensorrt", kernel, TYPES)

    def log(self, message):
        for recorder in self.recorders:
            recorder.report_error(1, message)


def make(state, version=VERSION, rtx=False):
    """The module ``tensorrt``, or ``tensorrt_rtx``."""
    name = "tensorrt_rtx" if rtx else "tensorrt"
    module = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    module.__version__ = version

    class Runtime:
        def __init__(self, logger):
            assert isinstance(logger, module.ILogger)

        def __setattr__(self, name, value):
            assert name == "error_recorder"
            state.recorders.append(value)

        def deserialize_cuda_engine(self, data):
            if state.refuses or not data.startswith(MAGIC):
                state.log(state.refuses or DAMAGED)
                return None
            return Engine(state, json.loads(data[len(MAGIC) :]), rtx)

    module.ILogger, module.IErrorRecorder = type("ILogger", (), {}), type("Recorder", (), {})
    module.Runtime = Runtime
    module.LayerInformationFormat = types.SimpleNamespace(ONELINE="oneline")
    module.ExecutionContextAllocationStrategy = types.SimpleNamespace(USER_MANAGED="user")
    if rtx:
        module.DynamicShapesKernelSpecializationStrategy = types.SimpleNamespace(EAGER="eager")
    return module


class Engine:
    """See `trt.ICudaEngine`."""

    device_memory_size_v2 = SCRATCH

    def __init__(self, state, document, rtx):
        self.state, self.rtx = state, rtx
        self.profile, self.tensors = document["profile"], document["tensors"]
        self.text = document["layers"]
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index):
        return list(self.tensors)[index]

    def get_tensor_dtype(self, name):
        return types.SimpleNamespace(name=self.tensors[name][0])

    def get_tensor_shape(self, name):
        return self.tensors[name][1]

    def get_tensor_profile_shape(self, name, index):
        return [(size, 1, 32, 32) for size in self.profile]

    def create_engine_inspector(self):
        return types.SimpleNamespace(get_engine_information=lambda form: self.text)

    def create_runtime_config(self):
        config = types.SimpleNamespace(
            create_runtime_cache=lambda: "a cache",
            set_execution_context_allocation_strategy=lambda s: setattr(config, "memory", s),
            set_runtime_cache=lambda cache: setattr(config, "cache", cache),
        )
        self.state.configs.append(config)
        return config

    def create_execution_context(self, how):
        if not self.state.makes_contexts:
            self.state.log(NO_MEMORY)
            return None
        assert (how in self.state.configs) if self.rtx else how == "user"
        return Context(self)


class Context:
    """See `trt.IExecutionContext`."""

    def __init__(self, engine):
        self.engine, self.state = engine, engine.state
        self.addresses, self.count, self.settled, self.scratch = {}, 0, False, 0
        self.state.contexts += 1
        assert self.state.driver.depth, "not inside the GPU's context"

    def __del__(self):
        self.state.contexts -= 1

    def set_device_memory(self, pointer, size):
        assert pointer % 256 == 0
        assert size >= SCRATCH
        self.scratch = pointer

    def set_input_shape(self, name, shape):
        least, _, most = self.engine.profile
        if not least <= shape[0] <= most:
            self.state.log(f"shape {shape} is outside the profile")
            return False
        self.count = shape[0]
        return True

    def set_tensor_address(self, name, pointer):
        self.addresses[name] = pointer
        return True

    def is_stream_capturable(self, stream):
        return self.state.capturable is not None

    def execute_async_v3(self, stream):
        assert self.scratch
        driver = self.state.driver
        if self.state.fails or (driver.capturing and not (self.settled and self.state.capturable)):
            self.state.log(self.state.fails or "this cannot be captured")
            return False
        self.settled = True
        self.state.executions += 1
        images, logits = self.addresses["images"], self.addresses["logits"]
        return driver.launch("tensorrt", stream, images, logits, self.count) == 0
