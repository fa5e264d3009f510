"""The real server with two workers: one set of counters, one log, one model control."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from processes import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills by what /proc tells")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TENSOR = {"name": "pixels", "datatype": "UINT8", "shape": [1, 28, 28], "data": [0] * 784}


class Server:
    """`lenet-deploy serve --workers 2` on a folder of models."""

    def __init__(self, folder):
        self.log_path = folder / "log"
        options = (
            "--trust --workers 2 --http-port 0 --grpc-port off --drain-delay 0.2 "
            "--log-format json --log-sample 1 --allow-model-control"
        )
        models = str(folder / "models")
        command = [sys.executable, "-m", "lenet_deploy", "serve", models, *options.split()]
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                command, stderr=log, cwd=REPOSITORY,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
        self.url = self.until(lambda: re.search(r"ready: (http://\S+)", self.log_path.read_text()))[
            1
        ]

    def until(self, condition):
        end = time.monotonic() + 30
        while not (found := condition()):
            assert self.process.poll() is None, self.log_path.read_text()
            assert time.monotonic() < end, self.log_path.read_text()
            time.sleep(0.05)
        return found

    def lines(self):
        text = self.log_path.read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def get(self, path):
        """By a connection of its own, so that either worker may answer."""
        with contextlib.suppress(httpx.TransportError):  # sent to one that is being killed
            return httpx.get(self.url + path)
        return httpx.get(self.url + path)

    def post(self, path, document=None, **headers):
        return httpx.post(self.url + path, json=document, headers=headers)

    def sample(self, name):
        values = re.findall(rf"^{re.escape(name)} (\S+)$", self.get("/metrics").text, re.MULTILINE)
        return float(values[0])

    def pids(self):
        pid = self.process.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.fixture(scope="module")
def server(native_artifact, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving")
    (folder / "models/digits").mkdir(parents=True)
    shutil.copytree(native_artifact.path, folder / "models/digits/1")
    server = Server(folder)
    yield server
    server.process.kill()
    server.process.wait()


def infer(server, **headers):
    answer = server.post("/v2/models/digits/infer", {"id": "mine", "inputs": [TENSOR]}, **headers)
    assert answer.status_code == 200, answer.text
    return answer


SUCCESS = 'nv_inference_request_success{model="digits",version="1"}'


def test_both_workers_answer_with_the_sum_and_log_what_they_answered(server):
    before = server.sample(SUCCESS)
    for _ in range(20):
        assert infer(server, traceparent=TRACE).headers["traceparent"] == TRACE
    assert {server.sample(SUCCESS) for _ in range(10)} == {before + 20}
    (statistics,) = server.get("/v2/models/digits/stats").json()["model_stats"]
    assert statistics["inference_count"] == before + 20
    lines = [line for line in server.lines() if line.get("id") == "mine"]
    assert {line["worker"] for line in lines} == {0, 1}
    assert all(line["code"] == 200 and line["trace"] == TRACE[3:35] for line in lines)


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("/v2/models/digits/infer", {}, 400),
        ("/v2/models/digits/infer", {"Content-Encoding": "br"}, 415),
        ("/v2/models/digits/infer", {"Content-Encoding": "gzip"}, 400),
        ("/v2/models/none/infer", {}, 404),
        ("/nowhere", {}, 404),
    ],
)
def test_a_refused_request_is_logged_with_the_id_of_its_header(server, path, headers, code):
    name = f"refused {path} {headers}"
    answer = server.post(path, [], **headers, **{"X-Request-Id": name})
    assert answer.status_code == code
    (line,) = [line for line in server.lines() if line.get("id") == name]
    assert (line["code"], line["level"]) == (code, "WARNING")


def test_what_a_killed_worker_counted_stays(server):
    infer(server)
    before, pids = server.sample(SUCCESS), server.pids()
    assert len(pids) == 2
    os.kill(int(pids[1]), signal.SIGKILL)
    restarts = 'lenet_worker_restarts_total{reason="SIGKILL"}'
    server.until(lambda: server.sample(restarts) == 1 and server.sample("lenet_workers") == 2)
    assert {server.sample(SUCCESS) for _ in range(10)} == {before}
    (line,) = [line for line in server.lines() if "SIGKILL" in line.get("message", "")]
    assert f"(pid {pids[1]}) ended by SIGKILL" in line["message"]


def test_what_one_worker_is_told_to_unload_is_unloaded_by_all(server):
    def codes():
        return {server.get("/v2/models/digits/ready").status_code for _ in range(10)}

    assert codes() == {200}
    assert server.post("/v2/repository/models/digits/unload", {}).status_code == 200
    server.until(lambda: 200 not in codes())
    assert server.post("/v2/repository/models/digits/load", {}).status_code == 200
    server.until(lambda: codes() == {200})


def test_sigterm_drains_all_and_exits_0(server):
    pids = server.pids()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
