"""A server's artifact is replaced again and again under load; not one request may fail.

Its arguments are two artifacts of one network that answer differently, such as native-fp32 and
native-int8. Clients keep their connections; each answer is compared to the bit with those of the
two artifacts. Every fifth time the server is told by SIGHUP, else it looks by itself. With
``--volume`` it is replaced as kubelet replaces a ConfigMap's files, once all have seen the last.
"""

import argparse
import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import lenet_runtime
from lenet_export import publish
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from volumes import contents, kubelet

PATH = "/v2/models/lenet/infer"
SECONDS = 30  # that a replacement may take


class Load:
    """Clients that ask without end, and what they saw.

    Args:
        port: The server's.
        images: A digit, float32 ``(1, 1, 32, 32)``.
        logits: What each artifact answers.
        clients: Their number.
    """

    def __init__(self, port, images, logits, clients):
        self.port, self.logits = port, logits
        header = {
            "inputs": [{"name": "images", "datatype": "FP32", "shape": images.shape,
                        "parameters": {"binary_data_size": images.nbytes}}],
            "parameters": {"binary_data_output": True},
        }  # fmt: skip
        head = json.dumps(header).encode()
        self.body = head + images.tobytes()
        self.headers = {"Inference-Header-Content-Length": str(len(head))}
        self.failures, self.answered = [], 0
        self.seen = [-1] * clients  # by whom each client was answered last
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=[n]) for n in range(clients)]
        for thread in self.threads:
            thread.start()

    def ask(self, number):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.stopping.is_set():
            try:
                connection.request("POST", PATH, self.body, self.headers)
                answer = connection.getresponse()
                body = answer.read()
                assert answer.status == 200, (answer.status, body[:500])
                logits = body[int(answer.headers["Inference-Header-Content-Length"]) :]
                self.seen[number] = self.logits.index(logits)
            except Exception as error:
                self.failures.append(repr(error))
            self.answered += 1
            time.sleep(0.001)

    def until_all_see(self, artifact):
        end = time.monotonic() + SECONDS
        while self.seen != [artifact] * len(self.seen):
            assert time.monotonic() < end, f"not replaced after {SECONDS} s; {self.failures[:3]}"
            time.sleep(0.005)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def replace_volume(target, artifact):
    """Set ``..data`` anew."""
    kubelet(target, contents(artifact))


def replace_folder(target, artifact):
    """Publish a copy as an export does."""
    with publish.staging(target) as folder:
        shutil.copytree(artifact, folder, dirs_exist_ok=True)
        publish.publish(folder, target, force=True)


def resident_mib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def trial(artifacts, served, replace, reloads, clients, workers):
    """Serve `served`, replace it, and say what came of it."""
    images = to_batch(load_digits().images[:1], Preprocessing())
    logits = []
    for artifact in artifacts:
        with lenet_runtime.load(artifact, trust=True) as session:
            logits.append(session.run(images).tobytes())
    assert logits[0] != logits[1], "the artifacts answer alike"
    replace(served, artifacts[0])
    command = [sys.executable, "-m", "lenet_deploy", "serve", str(served), "--trust",
               "--http-port", "0", "--grpc-port", "off", "--drain-delay", "0",
               "--poll-seconds", "0.1", "--workers", str(workers)]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        for line in server.stderr:
            if found := re.search(r"ready: http://127.0.0.1:(\d+)", line):
                break
        threading.Thread(target=server.stderr.read, daemon=True).start()
        load = Load(int(found[1]), images, logits, clients)
        load.until_all_see(0)
        before, begin = resident_mib(server.pid), time.monotonic()
        try:
            for number in range(1, reloads + 1):
                replace(served, artifacts[number % 2])
                if number % 5 == 0:
                    server.send_signal(signal.SIGHUP)
                load.until_all_see(number % 2)
        finally:
            load.stop()
            took, after = time.monotonic() - begin, resident_mib(server.pid)
            server.send_signal(signal.SIGTERM)
            code = server.wait(30)
    print(
        f"{reloads} reloads in {took:.0f} s, {load.answered} requests of {clients} clients, "
        f"{len(load.failures)} failed; RSS {before:.1f} to {after:.1f} MiB; exit code {code}"
    )
    for failure in load.failures[:5]:
        print(failure)
    return not load.failures and code == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifacts", nargs=2, type=Path)
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--volume", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        served = Path(folder) / "served"
        numbers = options.reloads, options.clients, options.workers
        how = replace_volume if options.volume else replace_folder
        sys.exit(not trial(options.artifacts, served, how, *numbers))


if __name__ == "__main__":
    main()
