"""OpenVINO on our ONNX model, with a static shape, one stream and tensors that are set once."""

import sys

import numpy as np

from benchmarks.peers.work import Images, Logits, Peer, Work, by_batch_size


@by_batch_size
def preset_tensor(work: Work, batch_size: int) -> Peer:
    """An inference request of one batch size, whose input tensor shares our memory."""
    # OpenVINO tells its vendor of every import, through a package that it can do without.
    sys.modules.setdefault("openvino_telemetry", None)
    import openvino

    core = openvino.Core()
    model = core.read_model(work.onnx)
    model.reshape([batch_size, 1, 32, 32])
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": work.threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 on CPUs that have it
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    buffer = np.zeros((batch_size, 1, 32, 32), np.float32)
    request.set_input_tensor(openvino.Tensor(buffer, shared_memory=True))
    logits = request.get_output_tensor().data

    def run(images: Images) -> Logits:
        np.copyto(buffer, images)
        request.infer(share_outputs=True)
        return logits.copy()

    return run
