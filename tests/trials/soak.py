"""A server under all that may happen to it, for ten minutes: SOAK="--seconds 60" make soak.

Good clients of four kinds ask without end, and each answer is compared to the bit. Meanwhile the
artifact is replaced, workers are killed, and bad clients (`bad_clients`) do their worst. At the end
no answer may have been wrong, none lost but those of a killed worker, no worker may have grown, no
zombie is left, and SIGTERM ends it all with exit code 0.

A failed request counts as one of a killed worker if its connection was open when one was killed,
and had not been answered since.
"""

import argparse
import collections
import contextlib
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import grpc
import numpy as np

import lenet_runtime
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch
from lenet_serve.protocol.messages import METHODS

sys.path.insert(0, str(Path(__file__).parent))
from bad_clients import BAD, INFER
from reload_trial import replace_folder, resident_mib

CALL = "/inference.GRPCInferenceService/ModelInfer"
DIGITS = 20
KILL_S, RELOAD_S, THINK_S = 9.0, 2.0, 0.004
STRAY = 0.01  # share of answers after which a client connects anew, perhaps to another worker
# A worker's, all the time; and of its median, from the second to the last quarter of a run that is
# long enough for the worst of all clients to have come before.
MOST_MIB, GROWTH_MIB, LONG_S = 200.0, 8.0, 300.0


class Case:
    """One digit: the requests of each kind, and the answers that are right, as bytes."""

    def __init__(self, pixels, image, answers):
        self.answers = answers
        tensor = {"name": "images", "datatype": "FP32", "shape": image.shape}
        header = {"inputs": [tensor | {"parameters": {"binary_data_size": image.nbytes}}],
                  "parameters": {"binary_data_output": True}}  # fmt: skip
        text = json.dumps(header).encode()
        self.binary = text + image.tobytes(), {"Inference-Header-Content-Length": str(len(text))}
        self.json = json.dumps({"inputs": [tensor | {"data": image.ravel().tolist()}]}), {}
        pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1, 28, 28],
                  "data": pixels.ravel().tolist()}  # fmt: skip
        self.pixels = json.dumps({"inputs": [pixels]}), {}
        asked = {"inputs": [tensor], "raw_input_contents": [image.tobytes()]}
        self.grpc = METHODS[CALL].request(model_name="lenet", **asked).SerializeToString()


class Http:
    """A client over one connection at a time."""

    def __init__(self, port, kind):
        self.kind = kind
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self, case):
        body, headers = getattr(case, self.kind)
        self.connection.request("POST", INFER, body, headers)
        answer = self.connection.getresponse()
        content = answer.read()
        assert answer.status == 200, (answer.status, content[:300])
        if self.kind == "binary":
            return content[int(answer.headers["Inference-Header-Content-Length"]) :]
        return np.array(json.loads(content)["outputs"][0]["data"], np.float32).tobytes()

    def close(self):
        self.connection.close()


class Grpc:
    """A client over one channel at a time."""

    def __init__(self, port):
        self.address, self.channel = f"127.0.0.1:{port}", None

    def ask(self, case):
        if self.channel is None:
            options = [("grpc.use_local_subchannel_pool", 1)]
            self.channel = grpc.insecure_channel(self.address, options)
        content = self.channel.unary_unary(CALL)(case.grpc, timeout=30)
        return METHODS[CALL].response.FromString(content).raw_output_contents[0]

    def close(self):
        if self.channel is not None:
            self.channel.close()
        self.channel = None


class Soak:
    """What is under way, and what came of it."""

    def __init__(self, http_port, grpc_port, cases):
        self.http, self.grpc, self.cases = http_port, grpc_port, cases
        self.stopping = threading.Event()
        self.killed_at = float("-inf")
        self.counts, self.faults = collections.Counter(), []
        self.seconds = []  # that each answer took
        kinds = [lambda kind=kind: Http(http_port, kind) for kind in ("binary", "json", "pixels")]
        kinds.append(lambda: Grpc(grpc_port))
        self.threads = [threading.Thread(target=self.good, args=[make]) for make in kinds]
        self.threads.append(threading.Thread(target=self.bad))
        for thread in self.threads:
            thread.start()

    def good(self, make):
        client, begun = make(), time.monotonic()
        while not self.stopping.wait(THINK_S):
            case, asked = random.choice(self.cases), time.monotonic()
            try:
                answer = client.ask(case)
            except Exception as error:
                if self.killed_at > begun:
                    self.counts["lost to a kill"] += 1
                else:
                    self.faults.append(f"lost: {error!r}")
                client.close()
                begun = time.monotonic()
                continue
            begun = asked
            self.counts["answered"] += 1
            if random.random() < STRAY:
                client.close()
            self.seconds.append(time.monotonic() - asked)
            if answer not in case.answers:
                self.faults.append(f"wrong: {answer.hex()}")
        client.close()

    def bad(self):
        while not self.stopping.is_set():
            for client in random.sample(BAD, len(BAD)):
                if self.stopping.wait(0.2):
                    return
                begun = time.monotonic()
                try:
                    client(self.http, self.grpc)
                except Exception:
                    if self.killed_at < begun:
                        self.faults.append(f"{client.__name__}: {traceback.format_exc(-2)}")
                self.counts["bad clients"] += 1

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)
        self.counts["kills"] += 1
        end = time.monotonic() + 1.0  # until its connections are known to be gone
        while time.monotonic() < end:
            self.killed_at = time.monotonic()
            time.sleep(0.05)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def children(pid):
    """Its processes, the oldest first."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def zombies(pid):
    return [child for child in children(pid)
            if ") Z " in Path(f"/proc/{child}/stat").read_text()]  # fmt: skip


def run(server, soak, artifacts, served, seconds):
    """Let it all happen; the memory of the supervisor and of worker 0 at each reload."""
    begun, sizes = time.monotonic(), []
    killed = replaced = begun
    first = children(server.pid)[0]
    while (now := time.monotonic()) < begun + seconds:
        time.sleep(0.2)
        if now > replaced + RELOAD_S:
            replaced = now
            soak.counts["reloads"] += 1
            replace_folder(served, artifacts[soak.counts["reloads"] % 2])
            sizes.append((now - begun, resident_mib(server.pid), resident_mib(first)))
        if now > killed + KILL_S:
            killed = now
            for pid in set(children(server.pid)) - {first}:
                soak.kill(pid)
    assert first in children(server.pid), "worker 0 died"
    return sizes


@contextlib.contextmanager
def serving(served, workers, log, *flags):
    """A server, and its two ports."""
    command = [sys.executable, "-m", "lenet_deploy", "serve", str(served), "--trust",
               "--http-port", "0", "--grpc-port", "0", "--drain-delay", "0", "--poll-seconds",
               "0.2", "--workers", str(workers), *flags]  # fmt: skip
    with log.open("w") as file, subprocess.Popen(command, stderr=file) as server:
        try:
            while not (ports := re.search(r"ready: \S+:(\d+) grpc: \S+:(\d+)", log.read_text())):
                assert server.poll() is None, log.read_text()
                time.sleep(0.05)
            yield server, int(ports[1]), int(ports[2])
        finally:
            if server.poll() is None:
                server.terminate()


def main():
    """Say what came of it; exits 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifacts", nargs=2, type=Path, help="two that answer differently")
    parser.add_argument("--seconds", type=float, default=600)
    options = parser.parse_args()
    pixels = load_digits().images[:DIGITS]
    images, answers = to_batch(pixels, Preprocessing()), []
    for artifact in options.artifacts:
        with lenet_runtime.load(artifact, trust=True) as session:
            answers.append([session.run(images[n : n + 1]).tobytes() for n in range(DIGITS)])
    cases = [Case(pixels[n], images[n : n + 1], [own[n] for own in answers]) for n in range(DIGITS)]
    with tempfile.TemporaryDirectory() as folder:
        served, log = Path(folder) / "served", Path(folder) / "log"
        replace_folder(served, options.artifacts[0])
        with serving(served, 2, log) as (server, http_port, grpc_port):
            soak = Soak(http_port, grpc_port, cases)
            try:
                sizes = run(server, soak, options.artifacts, served, options.seconds)
            finally:
                soak.stop()
            left = zombies(server.pid)
            server.send_signal(signal.SIGTERM)
            code = server.wait(60)
        errors = [line for line in log.read_text().splitlines() if "Traceback" in line]
    sys.exit(report(soak, sizes, left, code, errors))


def report(soak, sizes, left, code, errors):
    """Print the figures; 1 where one of them is not as it should be."""
    middle = len(sizes) // 2
    print(", ".join(f"{count} {what}" for what, count in soak.counts.items()))
    took = np.percentile(soak.seconds, [50, 99, 99.9, 100]) * 1000
    print(
        "answered within {:.1f} ms (p50), {:.1f} (p99), {:.0f} (p99.9), {:.0f} (all)".format(*took)
    )
    for when, (at, *own) in zip(
        ("start", "middle", "end"), (sizes[0], sizes[middle], sizes[-1]), strict=True
    ):
        print(
            f"RSS at the {when} ({at:.0f} s): supervisor, worker 0: {own[0]:.1f}, {own[1]:.1f} MiB"
        )
    early, late = (
        np.median([size[2] for size in quarter])
        for quarter in (sizes[middle // 2 : middle + 1], sizes[middle + middle // 2 :])
    )
    grown = late - early
    print(f"worker 0's median RSS: {early:.1f} MiB in the second quarter, {late:.1f} in the last; "
          f"{len(left)} zombies, "
          f"{len(errors)} tracebacks in the log, exit code {code}")  # fmt: skip
    print(f"{len(soak.faults)} faults")
    for fault in soak.faults[:10]:
        print(" ", fault)
    grows = max(size[2] for size in sizes) > MOST_MIB or (
        sizes[-1][0] > LONG_S and grown > GROWTH_MIB
    )
    return int(bool(soak.faults or left or code or errors or grows))


if __name__ == "__main__":
    main()
