"""A real Ray cluster of one machine: Ray Serve and batch jobs, with kills in the midst of both.

Two native artifacts that answer differently are served one after the other. Every answer must be
that of `Session.run` to the bit, under load, while a replica is killed, while the artifact is
replaced, and while a broken one is tried. Then a job's actor is killed, and its driver.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import lenet_runtime
from lenet_deploy import batch
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch

sys.path.insert(0, str(Path(__file__).parent))
from cluster_examples import check
from ray_processes import BIN, called, cluster, free_port, listens_outside, wait_for

INFER = "/v2/models/lenet/infer"
LIMIT_S = 300  # twice what it takes on a busy machine of two cores
CLIENTS, PARTS, ROWS = 4, 6, 32768  # the fewest rows that a part has
RAW = {"binary_data_output": True}


def say(text, begin=time.monotonic()):  # noqa: B008  the trial's own beginning
    print(f"{time.monotonic() - begin:6.1f} s  {text}", flush=True)


class Case:
    """An image, as JSON and as a binary tensor, and what each artifact answers."""

    def __init__(self, image, sessions):
        tensor = {"name": "images", "datatype": "FP32", "shape": [1, 1, 32, 32]}
        numbers = [float(str(x)) for x in image.ravel()]
        header = json.dumps(
            {"inputs": [tensor | {"parameters": {"binary_data_size": 4096}}], "parameters": RAW}
        ).encode()
        self.json = json.dumps({"inputs": [tensor | {"data": numbers}]}).encode(), {}
        length = {"Inference-Header-Content-Length": str(len(header))}
        self.binary = header + image.tobytes(), length
        self.answers = [session.run(image[None]).tobytes() for session in sessions]


def ask(connection, body, headers):
    """One request; the logits' bytes.

    Raises:
        HTTPException, OSError: It was not answered.
    """
    connection.request("POST", INFER, body, headers)
    response = connection.getresponse()
    data = response.read()
    if response.status != 200:
        raise HTTPException(f"{response.status} {data[:200]!r}")
    length = response.getheader("Inference-Header-Content-Length")
    if length:
        return data[int(length) :]
    return np.float32(json.loads(data)["outputs"][0]["data"]).tobytes()


class Load:
    """Clients that ask on until they are stopped, and ask again what failed."""

    def __init__(self, port, cases):
        self._port, self._cases, self._stop = port, cases, threading.Event()
        self.answers, self.failures, self.failed_at = Counter(), Counter(), []
        self._threads = [threading.Thread(target=self._ask, args=[n]) for n in range(CLIENTS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        time.sleep(1.0)
        return self

    def __exit__(self, *_):
        time.sleep(1.0)
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number):
        connection, turn = HTTPConnection("127.0.0.1", self._port, timeout=30), number
        while not self._stop.is_set():
            turn += 1
            case = self._cases[turn % len(self._cases)]
            for _ in range(100):
                try:
                    logits = ask(connection, *(case.json if turn % 2 else case.binary))
                    break
                except (OSError, HTTPException) as error:
                    self.failures[f"{type(error).__name__} {error}"[:120]] += 1
                    self.failed_at.append(time.monotonic())
                    connection.close()
                    time.sleep(0.05)
            else:
                logits = b"never"
            which = case.answers.index(logits) if logits in case.answers else "wrong"
            self.answers[which] += 1


def deploy(own, config):
    """What `serve deploy` does: the configuration to the dashboard."""
    path = own.folder / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    subprocess.run(
        [BIN / "serve", "deploy", path, "-a", own.dashboard], check=True, capture_output=True
    )


def application(own):
    """What Ray Serve says of the application."""
    token = {"Authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"}
    url = urllib.request.Request(f"{own.dashboard}/api/serve/applications/", headers=token)
    with urllib.request.urlopen(url) as response:
        return json.load(response)["applications"].get("lenet", {})


def status(own):
    """Its status, and its deployment's."""
    told = application(own)
    return told.get("status"), told.get("deployments", {}).get("lenet", {}).get("status")


def replicas(own):
    """The processes of the replicas that Ray Serve takes for running."""
    told = application(own)["deployments"].get("lenet", {}).get("replicas", [])
    return {replica["pid"] for replica in told if replica["state"] == "RUNNING"}


def serve(own, artifacts, scratch):
    """Ray Serve, from the package's configuration."""
    from ray import serve as api
    from ray.serve.schema import ServeDeploySchema

    package = scratch / "package"
    lenet_deploy = [sys.executable, "-m", "lenet_deploy"]
    subprocess.run(
        [*lenet_deploy, "package", artifacts[0], "--target", "ray", "-o", package, "--shared",
         package], check=True, capture_output=True,
    )  # fmt: skip
    config = yaml.safe_load((package / "serve.yaml").read_text())
    ServeDeploySchema.model_validate(config)
    port = config["http_options"]["port"] = free_port()
    config["http_options"]["host"] = "127.0.0.1"
    (lenet,) = config["applications"][0]["deployments"]
    lenet["ray_actor_options"]["num_cpus"] = 0.5
    lenet["autoscaling_config"]["max_replicas"] = 2  # what was measured is two cores
    deploy(own, config)
    wait_for(lambda: status(own)[0] == "RUNNING", 60)
    say(f"Ray Serve answers from {len(replicas(own))} replicas")

    sessions = [lenet_runtime.load(path, trust=True) for path in artifacts]
    with np.load(artifacts[0] / "golden.npz") as golden:
        images = np.concatenate(
            [golden["images"], to_batch(load_digits().images, Preprocessing())]
        )  # fmt: skip
    cases = [Case(image, sessions) for image in images]
    assert all(a != b for a, b in (case.answers for case in cases)), "artifacts answer alike"
    same_bits(own, port, cases)
    kill_a_replica(own, port, cases)
    update(own, port, cases, config, artifacts)
    fail(own, port, cases, config, artifacts, scratch / "broken")
    restart(own, port, cases, config)
    say(f"listens beyond the loopback: {listens_outside()}")  # Ray's own, from replica to replica
    api.shutdown()


def same_bits(own, port, cases):
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    for case in cases:
        for body in (case.json, case.binary):
            assert ask(connection, *body) == case.answers[0]
    say(f"{len(cases)} digits as JSON and binary: equal to Session.run's to the bit")
    took = wait_for(lambda: counted(own) == 2 * len(cases), 20)
    say(f"Ray's metrics count all {2 * len(cases)} of them, after {took:.1f} s")


def counted(own):
    """Requests answered, by the metrics that Prometheus would read, of all replicas."""
    with urllib.request.urlopen(f"{own.metrics}/metrics") as response:
        lines = response.read().decode().splitlines()
    own_lines = (x for x in lines if x.startswith("ray_lenet_requests_total{") and '"200"' in x)
    return sum(float(line.split()[-1]) for line in own_lines)


def kill_a_replica(own, port, cases):
    before = replicas(own)
    with Load(port, cases) as load:
        os.kill(victim := min(before), signal.SIGKILL)
        killed = time.monotonic()
        noticed = wait_for(lambda: victim not in replicas(own), 30)
        replaced = noticed + wait_for(lambda: len(replicas(own)) == 2, 30)
    last = max([at - killed for at in load.failed_at], default=0.0)
    say(f"a replica killed under load: {sum(load.answers.values())} answered; "
        f"{sum(load.failures.values())} attempts failed and were repeated, the last one "
        f"{last:.2f} s after the kill; noticed after {noticed:.2f} s, replaced after "
        f"{replaced:.2f} s; {dict(load.failures)}")  # fmt: skip
    assert load.answers.keys() == {0}, load.answers
    assert max(last, noticed) < 2, "a dead replica was not noticed within 2 s"


def update(own, port, cases, config, artifacts):
    """Another artifact under load: nothing fails, without a retry."""
    with Load(port, cases) as load:
        begin = time.monotonic()
        serves(config)["artifact"] = str(artifacts[1])
        deploy(own, config)
        wait_for(lambda: load.answers[1] > 50, 30)
        wait_for(lambda: status(own) == ("RUNNING", "HEALTHY"), 30)
        took = time.monotonic() - begin
        time.sleep(1.0)
        old = load.answers[0]
    say(f"a rolling update under load, {took:.1f} s with `serve deploy`: {dict(load.answers)} "
        f"answers by artifact, failures {dict(load.failures)}")  # fmt: skip
    assert load.answers.keys() == {0, 1}, load.answers
    assert load.answers[0] == old, "the old artifact still answers"
    assert not load.failures


def fail(own, port, cases, config, artifacts, broken):
    """A broken artifact under load, until Ray Serve gives up, and the way back: nothing fails."""
    shutil.copytree(artifacts[0], broken)
    (broken / "lenet.so").write_bytes(b"no library")
    with Load(port, cases) as load:
        serves(config)["artifact"] = str(broken)
        deploy(own, config)
        took = wait_for(lambda: status(own)[0] == "DEPLOY_FAILED", 60)
        left = len(replicas(own))
        serves(config)["artifact"] = str(artifacts[0])
        deploy(own, config)
        wait_for(lambda: status(own) == ("RUNNING", "HEALTHY"), 60)
    say(f"a broken artifact under load: DEPLOY_FAILED after {took:.1f} s, while {left} old "
        f"replica answered, and back again: {dict(load.answers)}, failures "
        f"{dict(load.failures)}")  # fmt: skip
    assert load.answers.keys() == {0, 1}, load.answers
    assert not load.failures


def restart(own, port, cases, config):
    """Other arguments under load: each replica ends with what it has begun, and nothing fails."""
    before = replicas(own)
    with Load(port, cases) as load:
        config["applications"][0]["args"]["poll_seconds"] = 5.0
        deploy(own, config)
        took = wait_for(lambda: len(now := replicas(own)) == 2 and not now & before, 60)
    say(f"all replicas started anew under load, in {took:.1f} s: {dict(load.answers)}, failures "
        f"{dict(load.failures)}")  # fmt: skip
    assert load.answers.keys() == {0}, load.answers
    assert not load.failures


def serves(config):
    return config["applications"][0]["deployments"][0]["user_config"]


def jobs(own, artifact, scratch):
    """A job on the cluster: an actor killed, the driver killed and resumed, twice refused."""
    digits = load_digits()
    rows = np.resize(digits.images.reshape(-1, 784), (PARTS * ROWS, 784))
    pixels = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 784)
    source = scratch / "digits.parquet"
    pq.write_table(
        pa.table({"id": range(len(rows)), "pixels": pixels}), source, row_group_size=ROWS
    )
    expected = scratch / "expected.parquet"
    options = {"artifact": artifact, "trust": True, "keep": ["id"]}
    batch.run([str(source)], expected, **options)
    table = pq.read_table(expected)
    say(f"the local engine answered {table.num_rows} rows")

    for victim in ("ray::MapWorker", "driver"):
        output = scratch / f"{victim.removeprefix('ray::')}.parquet"
        command = [
            sys.executable, "-m", "lenet_deploy", "batch", source, "-o", output, "--keep", "id",
            "--artifact", artifact, "--trust", "--engine", "ray", "--address", own.address,
        ]  # fmt: skip
        driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_for(lambda: done_parts(scratch) >= 2, 60, driver)
        actors = called(own.folder, "ray::MapWorker")
        os.kill(driver.pid if victim == "driver" else actors[0], signal.SIGKILL)
        done = done_parts(scratch)
        printed = driver.communicate(timeout=100)[0].decode()
        if victim == "driver":
            wait_for(lambda: not called(own.folder, "ray::MapWorker"), 30)
            again = subprocess.run(
                [*command, "--resume"], capture_output=True, text=True, check=True
            )
            printed = again.stdout
        else:
            assert driver.returncode == 0, printed
        assert pq.read_table(output).equals(table)
        say(f"{victim} of {len(actors)} actors killed after {done} parts of {PARTS}: all rows "
            f"equal the local engine's, in order; {printed.splitlines()[-1]}")  # fmt: skip
    example(own, artifact)
    twice = subprocess.run(command, capture_output=True, text=True, check=False)
    assert twice.returncode == 2, twice.stderr
    say(f"run twice: exit code 2, {twice.stderr.splitlines()[-1]}")


def example(own, artifact):
    """docs/batch-clusters.md's example of Ray Data."""
    os.environ["RAY_ADDRESS"] = own.address  # of which its driver is another one
    (folder := own.folder / "example").mkdir()
    say(f"over_ray.py: {check('over_ray.py', artifact, folder)} rows, equal to the session's")


def done_parts(folder):
    """Parts that a job's journal lists."""
    journals = [path.read_text() for path in folder.glob(".*.job/*/done.jsonl")]
    return sum(text.count("\n") for text in journals)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifacts", type=Path, nargs=2)
    parser.add_argument("--only", choices=["serve", "batch"])
    arguments = parser.parse_args()
    artifacts = [path.resolve() for path in arguments.artifacts]
    for number in (signal.SIGALRM, signal.SIGTERM):  # what was started is ended then, too
        signal.signal(number, lambda number, _: sys.exit(f"ended by {signal.Signals(number).name}"))
    signal.alarm(LIMIT_S)
    with cluster(cpus=3) as own:
        say(f"a cluster at {own.address}")
        scratch = own.folder / "trial"
        scratch.mkdir()
        if arguments.only != "batch":
            serve(own, artifacts, scratch)
        if arguments.only != "serve":
            jobs(own, artifacts[0], scratch)
    say("nothing is left")


if __name__ == "__main__":
    main()
