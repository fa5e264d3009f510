"""ExecuTorch, with all operations delegated to XNNPACK."""

import numpy as np
import torch

from benchmarks.peers.work import Images, Logits, Peer, Unavailable, Work, by_batch_size


@by_batch_size
def xnnpack(work: Work, batch_size: int) -> Peer:
    """A program of one batch size, run through the Python bindings of ExecuTorch's runtime."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    if portable_lib._threadpool_get_thread_count() != work.threads:
        portable_lib._unsafe_reset_threadpool(work.threads)
    count = portable_lib._threadpool_get_thread_count()
    if count != work.threads:
        raise Unavailable(f"its thread pool has {count} threads where {work.threads} were asked")
    with torch.no_grad():
        exported = torch.export.export(work.net, (torch.zeros(batch_size, 1, 32, 32),))
    edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    program = Runtime.get().load_program(edge.to_executorch().buffer)
    method = program.load_method("forward")

    def run(images: Images) -> Logits:
        logits: Logits = method.execute([torch.from_numpy(images)])[0].numpy()
        return np.array(logits)  # the method's own memory, which its next call overwrites

    run.program = program  # type: ignore[attr-defined]  the method does not keep it alive
    return run
