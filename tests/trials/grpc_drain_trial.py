"""Counts calls that a server loses at SIGTERM, of eight busy gRPC channels, many times.

    python tests/trials/grpc_drain_trial.py ARTIFACT [RUNS]

A call is lost that fails in any way but by finding nobody to connect to any more.
"""

import collections
import re
import signal
import subprocess
import sys
import threading
import time

import grpc
import numpy as np

from lenet_serve.protocol.messages import message_class

CHANNELS = 8
IMAGE = np.zeros((1, 1, 32, 32), np.float32)
TENSOR = {"name": "images", "datatype": "FP32", "shape": IMAGE.shape}
REQUEST = message_class("inference.ModelInferRequest")(
    model_name="lenet", inputs=[TENSOR], raw_input_contents=[IMAGE.tobytes()]
).SerializeToString()


def call(port, answered, lost):
    """Call until nobody listens."""
    options = [("grpc.use_local_subchannel_pool", 1)]  # else channels share a connection
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        while True:
            try:
                infer(REQUEST, timeout=10)
                answered.append(1)
            except grpc.RpcError as error:
                if "failed to connect" in error.details():
                    return
                lost.append(f"{error.code().name}: {error.details()}")
            time.sleep(0.002)


def run(artifact):
    """Serve, call, end; returns the exit code, and what was answered and lost."""
    command = [sys.executable, "-m", "lenet_deploy", "serve", artifact, "--trust",
               "--http-port", "0", "--grpc-port", "0", "--drain-delay", "0.5"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        port = next(m[1] for line in server.stderr if (m := re.search(r"grpc: .*:(\d+)", line)))
        threading.Thread(target=server.stderr.read, daemon=True).start()
        answered, lost = [], []
        callers = [
            threading.Thread(target=call, args=[port, answered, lost]) for _ in range(CHANNELS)
        ]
        for caller in callers:
            caller.start()
        time.sleep(1)
        server.send_signal(signal.SIGTERM)
        for caller in callers:
            caller.join()
        return server.wait(), len(answered), lost


every = collections.Counter()
for number in range(int(sys.argv[2]) if len(sys.argv) > 2 else 20):
    code, answered, lost = run(sys.argv[1])
    every.update(lost)
    print(f"run {number + 1}: exit {code}, {answered} answered, {len(lost)} lost")
    assert code == 0
print(f"lost: {dict(every) or 'none'}")
sys.exit(bool(every))
