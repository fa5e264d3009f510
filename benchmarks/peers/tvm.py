"""Apache TVM, with kernels from a search by MetaSchedule on this CPU, for one static shape each.

Without the search TVM's loops are scalar. It is slow, so its database is kept under
`.cache/peers/`, in a folder whose name has everything that the database depends on.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.work import Images, Logits, Peer, Unavailable, Work, in_chunks

TRIALS_PER_TASK = 64
ALIGNMENT = 64  # bytes; the generated code asserts this alignment
TUNED = (1, 8)  # batch sizes to search; larger batches loop over the kernel of eight


def looped(work: Work) -> Peer:
    """The kernel of eight images, called N / 8 times, or at batch size 1 the kernel of one."""
    kernels = {size: kernel(work, size) for size in TUNED}

    def run(images: Images) -> Logits:
        size = 8 if len(images) % 8 == 0 else 1
        return in_chunks(kernels[size], images, size)

    return run


def kernel(work: Work, batch_size: int) -> Peer:
    """The whole network as one function for one batch size, called without TVM's interpreter.

    At batch size 1 the interpreter's 45 instructions would take longer than LeNet itself.
    """
    os.environ["TVM_NUM_THREADS"] = str(work.threads)
    import tvm

    function, weights = compile_tuned(work, batch_size)
    images, logits = aligned((batch_size, 1, 32, 32)), aligned((batch_size, 10))
    as_tensor = tvm.runtime.from_dlpack
    arguments = [as_tensor(images), *weights, as_tensor(logits)]

    def run(batch: Images) -> Logits:
        np.copyto(images, batch)
        function(*arguments)
        return logits.copy()

    return run


def compile_tuned(work: Work, batch_size: int) -> tuple[Any, list[Any]]:
    """Build the network with the results of the search, which runs unless it has been run before.

    Returns:
        The function, and the weights, which are its arguments between input and output.
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
    """Merge the kernels, which are scheduled already, into one function outside the graph."""
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
    """Search schedules for every kernel in `module`; takes seven minutes on a quiet machine."""
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
    """Make an array of zeros that begins at a multiple of `ALIGNMENT`."""
    size = int(np.prod(shape)) * 4
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(np.float32).reshape(shape)
