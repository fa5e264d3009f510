"""ONNX Runtime, used plainly, on the very model that our artifact holds."""

from typing import Any

import numpy as np

from benchmarks.peers.work import Images, Logits, Peer, Work, by_batch_size, in_chunks

CHUNK = 64


def _session(work: Work) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = work.threads
    return onnxruntime.InferenceSession(work.onnx, options, providers=["CPUExecutionProvider"])


def run(work: Work) -> Peer:
    """`InferenceSession.run`, as its tutorials have it."""
    session = _session(work)
    return lambda images: session.run(None, {"images": images})[0]


def chunked(work: Work) -> Peer:
    """`InferenceSession.run` on 64 images at a time, which stay in the L2 cache."""
    whole = run(work)
    return lambda images: in_chunks(whole, images, CHUNK)


def io_binding(work: Work) -> Peer:
    """Input and output bound once to memory that is written and read in place."""
    session = _session(work)
    return by_batch_size(work, lambda size: _bound(session, size))


def _bound(session: Any, batch_size: int) -> Peer:
    import onnxruntime

    images = np.zeros((batch_size, 1, 32, 32), np.float32)
    logits = np.zeros((batch_size, 10), np.float32)
    binding = session.io_binding()
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    bound = value(images), value(logits)
    binding.bind_ortvalue_input("images", bound[0])
    binding.bind_ortvalue_output("logits", bound[1])

    def run(batch: Images) -> Logits:
        np.copyto(images, batch)
        session.run_with_iobinding(binding)
        return logits.copy()

    return run
