"""Compares the toolkit with its peers, which do the same work in turns in one process.

    python -m benchmarks.peers            # measure, write benchmarks/results/peers-*.json
    python -m benchmarks.peers.table F    # the table and the picture of a result

`PEERS` lists them all. A builder takes the `Work` and returns a function from float32 images
``(N, 1, 32, 32)`` to float32 logits ``(N, 10)``, both NumPy, or raises an error that says why not.
"""

from collections.abc import Callable
from functools import partial

from benchmarks.peers import executorch, litert, openvino, ort, ours, pytorch, tvm
from benchmarks.peers.work import Peer, Work

BASELINE = "onnxruntime run"
NATIVE = "lenet-deploy native"
# The precision of each peer that does not compute in float32, by which its parity is judged.
PRECISIONS = {"lenet-deploy native bf16": "bf16", "lenet-deploy native int8": "int8"}

PEERS: dict[str, Callable[[Work], Peer]] = {
    NATIVE: partial(ours.session, "native"),
    "lenet-deploy native bf16": partial(ours.session, "native", precision="bf16"),
    "lenet-deploy native int8": partial(ours.session, "native", precision="int8"),
    "lenet-deploy native AVX2": partial(ours.session, "native", isa="x86-64-v3"),
    "lenet-deploy ort-cpu": partial(ours.session, "onnx"),
    "lenet-deploy torchscript": partial(ours.session, "torchscript"),
    "lenet-deploy torch-compile": partial(ours.session, "torch-compile"),
    BASELINE: ort.run,
    "onnxruntime io-binding": ort.io_binding,
    "onnxruntime chunks of 64": ort.chunked,
    "TVM tuned": tvm.looped,
    "LiteRT XNNPACK": litert.xnnpack,
    "ExecuTorch XNNPACK": executorch.xnnpack,
    "OpenVINO": openvino.preset_tensor,
    "AOTInductor": partial(pytorch.aot_inductor, name="plain", options={}),
    "AOTInductor max-autotune": partial(
        pytorch.aot_inductor, name="max-autotune", options=pytorch.MAX_AUTOTUNE
    ),
    "AOTInductor freezing": partial(
        pytorch.aot_inductor, name="freezing", options=pytorch.FREEZING
    ),
    "AOTInductor freezing + max-autotune": partial(
        pytorch.aot_inductor, name="both", options=pytorch.BOTH
    ),
    "TorchScript frozen": partial(pytorch.torchscript, optimized=False),
    "TorchScript optimized": partial(pytorch.torchscript, optimized=True),
    "torch.compile": partial(pytorch.compiled, options={}),
    "torch.compile freezing": partial(pytorch.compiled, options=pytorch.FREEZING),
    "torch.compile freezing + max-autotune": partial(pytorch.compiled, options=pytorch.BOTH),
    "eager": pytorch.eager,
}
