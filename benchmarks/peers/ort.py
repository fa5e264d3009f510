"""ONNX Runtime, used plainly, on the model of our artifact."""

from typing import Any

import numpy as np

from benchmarks.peers.work import Images, Logits, Peer, Work, by_batch_size, in_chunks
from lenet_runtime.backends.ort.core import import_onnxruntime

CHUNK = 64


def _session(work: Work) -> Any:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = work.threads
    return onnxruntime.InferenceSession(work.onnx, options, providers=["CPUExecutionProvider"])


def run(work: Work) -> Peer:
    """`InferenceSession.run`, as in ONNX Runtime's tutorials."""
    session = _session(work)
    return lambda images: session.run(None, {"images": images})[0]


def chunked(work: Work) -> Peer:
    """`InferenceSession.run` on 64 images at a time, which stay in the L2 cache."""
    run_chunk = run(work)
    return lambda images: in_chunks(run_chunk, images, CHUNK)


def io_binding(work: Work) -> Peer:
    """One session, whose input and output are bound once to memory for each batch size."""
    session = _session(work)
    return by_batch_size(lambda work, size: _bound(session, size))(work)


def _bound(session: Any, batch_size: int) -> Peer:
    images = np.zeros((batch_size, 1, 32, 32), np.float32)
    logits = np.zeros((batch_size, 10), np.float32)
    binding = session.io_binding()
    as_value = import_onnxruntime().OrtValue.ortvalue_from_numpy
    values = as_value(images), as_value(logits)
    binding.bind_ortvalue_input("images", values[0])
    binding.bind_ortvalue_output("logits", values[1])

    def run(batch: Images) -> Logits:
        np.copyto(images, batch)
        session.run_with_iobinding(binding)
        return logits.copy()

    return run
