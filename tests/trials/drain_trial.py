"""A server is told to end while it is busy, again and again; not one request may be lost.

Eight clients over HTTP and eight over gRPC ask without end on connections that they keep, and one
sends a large request that is under way when SIGTERM comes. Clients do as they are told: they open
another connection after ``Connection: close``, and end when none is taken any more. At last a
second signal must end a server at once, though a delay of a minute was asked for.
"""

import argparse
import collections
import http.client
import json
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc
import numpy as np

import lenet_runtime
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch

sys.path.insert(0, str(Path(__file__).parent))
from bad_clients import INFER
from soak import Case, Grpc, Http, serving

CLIENTS, ROWS = 8, 4096


def ask_until_refused(client, case, counts, faults):
    """Ask on; whether a failure is a loss or the server's end."""
    while True:
        try:
            answer = client.ask(case)
        except ConnectionRefusedError:
            return
        except grpc.RpcError as error:
            if "connect" not in error.details().lower():
                faults.append(f"lost: {error.code()} {error.details()}")
            return
        except Exception as error:
            faults.append(f"lost: {error!r}")
            return
        counts[type(client).__name__] += 1
        if answer not in case.answers:
            faults.append("wrong")


def large_body(pixels):
    """A request of many digits, 10 MB of JSON."""
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [ROWS, 28, 28]}
    tensor["data"] = np.resize(pixels, (ROWS, 28, 28)).tolist()
    return json.dumps({"inputs": [tensor]})


def ask_much(connection, body, logits, counts, faults):
    """One large request, whose answer must come."""
    try:
        connection.request("POST", INFER, body)
        data = json.loads(connection.getresponse().read())["outputs"][0]["data"]
        assert np.array_equal(np.float32(data).reshape(ROWS, 10), np.resize(logits, (ROWS, 10)))
        counts["large"] += 1
    except Exception as error:
        faults.append(f"large: {error!r}")


def drain(artifact, workers, folder, body, case, logits):
    """One run; what was answered and what went wrong."""
    counts, faults = collections.Counter(), []
    with serving(artifact, workers, folder / "log") as (server, http_port, grpc_port):
        clients = [Http(http_port, "binary") for _ in range(CLIENTS)]
        clients += [Grpc(grpc_port) for _ in range(CLIENTS)]
        threads = [
            threading.Thread(target=ask_until_refused, args=[client, case, counts, faults])
            for client in clients
        ]
        connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=60)
        connection.connect()
        much = threading.Thread(target=ask_much, args=[connection, body, logits, counts, faults])
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        much.start()
        time.sleep(random.uniform(0, 0.1))  # while it is sent, waits, or is computed
        server.send_signal(signal.SIGTERM)
        code = server.wait(60)
        for thread in [*threads, much]:
            thread.join()
        for client in clients:
            client.close()
    if code:
        faults.append(f"exit code {code}")
    return counts, faults


def second_signal(artifact, workers, folder):
    """Seconds from a second SIGTERM to the end, and the exit code."""
    with serving(artifact, workers, folder / "log", "--drain-delay", "60") as (server, *_):
        server.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.poll() is None
        begun = time.monotonic()
        server.send_signal(signal.SIGTERM)
        code = server.wait(60)
        return time.monotonic() - begun, code


def main():
    """Say what was answered and lost; exits 1 if anything was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    pixels = load_digits().images[:1]
    images = to_batch(pixels, Preprocessing())
    with lenet_runtime.load(options.artifact, trust=True) as session:
        logits = session.run(images)
    case, total, good = Case(pixels[0], images, [logits.tobytes()]), collections.Counter(), 0
    body = large_body(pixels)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.runs):
            own = options.artifact, options.workers, Path(folder)
            counts, faults = drain(*own, body, case, logits)
            total += counts
            good += not faults
            for fault in faults[:5]:
                print(fault)
        took, code = second_signal(*own)
    answered = ", ".join(f"{count} {what}" for what, count in total.items())
    print(f"{good} of {options.runs} runs without a loss: {answered} answered")
    print(f"a second SIGTERM ends it within {took:.2f} s with exit code {code}")
    sys.exit(good < options.runs or took > 2)


if __name__ == "__main__":
    main()
