"""LiteRT (formerly TensorFlow Lite), whose interpreter hands everything to XNNPACK."""

import numpy as np

from benchmarks.peers.tflite import lenet
from benchmarks.peers.work import Images, Logits, Peer, Work, by_batch_size


def xnnpack(work: Work) -> Peer:
    """One interpreter per batch size; the delegate is the interpreter's default."""
    return by_batch_size(work, lambda size: _interpreter(work, size))


def _interpreter(work: Work, batch_size: int) -> Peer:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=lenet(work.net, batch_size), num_threads=work.threads)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    shape = (batch_size, 32, 32, 1)  # one channel: channels first and last are the same bytes

    def run(images: Images) -> Logits:
        # A view of the interpreter's memory lives for this statement only, as it demands.
        np.copyto(interpreter.tensor(source)(), images.reshape(shape))
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return run
