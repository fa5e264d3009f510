"""ExecuTorch with everything delegated to XNNPACK."""

import numpy as np
import torch

from benchmarks.peers.work import Images, Logits, Peer, Unavailable, Work, by_batch_size


def xnnpack(work: Work) -> Peer:
    """One program per batch size, through the Python bindings of its runtime."""
    from executorch.extension.pybindings import portable_lib

    if portable_lib._threadpool_get_thread_count() != work.threads:
        portable_lib._unsafe_reset_threadpool(work.threads)
    found = portable_lib._threadpool_get_thread_count()
    if found != work.threads:
        raise Unavailable(f"its thread pool has {found} threads where {work.threads} were asked")
    return by_batch_size(work, lambda size: _program(work, size))


def _program(work: Work, batch_size: int) -> Peer:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime

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
