"""LiteRT (formerly TensorFlow Lite), whose interpreter delegates all operations to XNNPACK."""

import numpy as np

from benchmarks.peers.tflite import lenet
from benchmarks.peers.work import Images, Logits, Peer, Work, by_batch_size


@by_batch_size
def xnnpack(work: Work, batch_size: int) -> Peer:
    """An interpreter of one batch size; the XNNPACK delegate is its default."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=lenet(work.net, batch_size), num_threads=work.threads)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    shape = (batch_size, 32, 32, 1)  # one channel: channels first and last are the same bytes

    def run(images: Images) -> Logits:
        # LiteRT demands that no view of its memory outlives this statement.
        np.copyto(interpreter.tensor(source)(), images.reshape(shape))
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return run
