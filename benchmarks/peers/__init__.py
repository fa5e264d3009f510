"""The toolkit held against its peers: the same work, interleaved in one process.

    python -m benchmarks.peers            # measure, write benchmarks/results/peers-*.json
    python -m benchmarks.peers.table F    # the table and the plot of a result

`PEERS` is the whole list. A builder gets the `Work` and returns a function from float32 images
``(N, 1, 32, 32)`` to float32 logits ``(N, 10)``, both NumPy, or raises why it cannot.
"""

from collections.abc import Callable
from functools import partial

from benchmarks.peers import executorch, litert, openvino, ort, ours, pytorch, tvm
from benchmarks.peers.work import Peer, Work

BASELINE = "onnxruntime run"

PEERS: dict[str, Callable[[Work], Peer]] = {
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
