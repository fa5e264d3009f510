"""Apache TVM: kernels found by MetaSchedule's search on this CPU, one static shape at a time.

The search is the peer: without it TVM's loops are scalar. It is slow, so its database is kept
under `.cache/peers/`, in a folder named after everything that it depends on.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.work import Images, Logits, Peer, Unavailable, Work, in_chunks

TRIALS_PER_TASK = 64
ALIGNMENT = 64  # bytes; the generated code asserts it
TUNED = (1, 8)  # batch sizes that are searched; larger batches loop over the kernel of eight


def looped(work: Work) -> Peer:
    """The kernel of one image at batch size 1, else the kernel of eight, N / 8 times."""
    kernels = {size: Kernel(work, size) for size in TUNED}

    def run(images: Images) -> Logits:
        kernel = kernels[8 if len(images) % 8 == 0 else 1]
        return in_chunks(kernel.run, images, kernel.batch_size)

    return run


class Kernel:
    """The whole network as one function of one batch size, called without TVM's interpreter.

    The interpreter's 45 instructions cost more than LeNet itself at batch size 1.
    """

    def __init__(self, work: Work, batch_size: int) -> None:
        os.environ["TVM_NUM_THREADS"] = str(work.threads)
        import tvm

        self.batch_size = batch_size
        function, weights = compile_tuned(work, batch_size)
        self._function = function
        self._images = aligned((batch_size, 1, 32, 32))
        self._logits = aligned((batch_size, 10))
        tensors = [tvm.runtime.from_dlpack(self._images), *weights]
        self._arguments = (*tensors, tvm.runtime.from_dlpack(self._logits))

    def run(self, images: Images) -> Logits:
        """Copy to aligned memory, compute, copy out."""
        np.copyto(self._images, images)
        self._function(*self._arguments)
        return self._logits.copy()


def compile_tuned(work: Work, batch_size: int) -> tuple[Any, list[Any]]:
    """Search unless a database of an earlier search is there, then build with what it found.

    Returns:
        The function, and the weights that go between its input and its output.
    """
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    cpu = tvm.target.codegen.llvm_get_system_cpu()
    target = tvm.target.Target({"kind": "llvm", "mcpu": cpu, "num-cores": work.threads})
    shape = {"images": [batch_size, 1, 32, 32]}
    module = from_onnx(onnx.load_model_from_string(work.onnx), shape_dict=shape)
    prepare = [
        relax.transform.DecomposeOpsForInference(),
        relax.transform.CanonicalizeBindings(),
        relax.get_pipeline("zero"),
        relax.transform.AttachAttrLayoutFreeBuffers(),  # lets the search choose weights' layout
    ]
    finish = [
        relax.transform.SplitLayoutRewritePreproc(),
        relax.transform.LiftTransformParams(),
        relax.transform.FoldConstant(),
        relax.transform.CanonicalizeBindings(),
        relax.transform.DeadCodeElimination(["main"]),
    ]
    with target, tvm.transform.PassContext(opt_level=3):
        module = tvm.transform.Sequential(prepare)(module)
        key = f"tvm{tvm.__version__}-{work.key}"
        folder = work.cache / key / f"batch{batch_size}-trials{TRIALS_PER_TASK}"
        tune(work, module, target, folder)
        applied = relax.transform.MetaScheduleApplyDatabase(str(folder))
        module = tvm.transform.Sequential([applied, *finish])(module)
        return _one_function(module, target)


def _one_function(module: Any, target: Any) -> tuple[Any, list[Any]]:
    """The kernels, scheduled already, merged into one and taken out of the graph."""
    import tvm
    from tvm import relax, tirx

    for name, function in module.functions.items():
        if isinstance(function, tirx.PrimFunc):  # 0: may be merged with whatever comes next
            module.update_func(name, function.with_attr("op_pattern", 0))
    module = relax.transform.FuseTIR()(relax.transform.FuseOps()(module))
    (binding,) = module["main"].body.blocks[0].bindings
    name, arguments = binding.value.args[0], list(binding.value.args[1].fields)
    merged = module[name].with_attr("global_symbol", "lenet")
    built = tvm.compile(tvm.IRModule({"lenet": merged}), target=target)
    return built["lenet"], [argument.value for argument in arguments[1:]]


def tune(work: Work, module: Any, target: Any, folder: Path) -> None:
    """Search the schedules of every kernel in `module`; about seven minutes on a quiet machine."""
    done = folder / "done"
    if done.exists():
        return
    if not work.tune:
        raise Unavailable(f"not tuned for this CPU, model and version ({folder}); run with --tune")
    from benchmarks.peers.tvm_search import search

    folder.mkdir(parents=True, exist_ok=True)
    search(module, target, folder, TRIALS_PER_TASK)
    done.touch()


def aligned(shape: tuple[int, ...]) -> Images:
    """Zeros that begin at a multiple of `ALIGNMENT`."""
    size = int(np.prod(shape)) * 4
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(np.float32).reshape(shape)
