"""docs/service.md: every block of it runs, on loopback."""

import importlib.util
import io
import json
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from processes import REPOSITORY

import lenet_deploy
import lenet_runtime
from lenet_runtime.images.digits import load_digits

PAGE = (REPOSITORY / "docs" / "service.md").read_text()
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.S))
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    for line in block.split("\n")
    if line
]
DIGITS = load_digits()
OPTIONS = {
    "uvicorn": ["--port", "0"],
    # gunicorn loses a SIGTERM to a worker that is starting, and waits its graceful
    # timeout, 30 s by default, before it kills that worker.
    "gunicorn": ["--bind", "127.0.0.1:0", "--log-level", "info", "--graceful-timeout", "5"],
}
LISTENING = re.compile(r"(?:Listening at|running on):? (http://127\.0\.0\.1:\d+)")


def png(index):
    """A bundled digit as a scan: black on white, 200x200."""
    picture, file = Image.fromarray(255 - DIGITS.images[index]), io.BytesIO()
    picture.resize((200, 200)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def labels():
    """What `predict` answers to twelve pictures by itself."""
    with lenet_runtime.load(lenet_deploy.bundled_artifact()) as session:
        found = [answer["label"] for answer in session.predict([png(i) for i in range(12)])]
    assert len(set(found)) > 4
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of the page."""
    folder = tmp_path_factory.mktemp("service")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def test_the_page_has_no_block_that_is_not_run():
    assert PAGE.count("```python") == len(FILES) == 4
    assert PAGE.count("```sh") == 2
    assert len(COMMANDS) == 5


@pytest.mark.parametrize("name", ["pool.py", "loop.py"])
def test_a_script_prints_true(folder, name):
    done = subprocess.run(
        [sys.executable, folder / name], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.fixture(scope="module")
def client(folder):
    pytest.importorskip("fastapi", reason="FastAPI is not installed; it is in the group dev")
    testclient = pytest.importorskip("fastapi.testclient")
    spec = importlib.util.spec_from_file_location("service", folder / "service.py")
    service = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(service)
    with testclient.TestClient(service.app) as client:
        yield client


def test_a_picture_is_answered_in_json(client, labels):
    answer = client.post("/digit", content=png(7))
    assert answer.status_code == 200
    document = answer.json()
    assert document["label"] == labels[7]
    assert document["top"][0] == {k: document[k] for k in ("label", "probability")}
    assert [*document] == ["label", "probability", "top", "warnings"]


@pytest.mark.parametrize(
    ("picture", "code", "says"),
    [
        (b"", 422, "an empty file"),
        (b"<html></html>", 422, "an HTML page"),
        (png(3)[:200], 422, "expected a whole picture"),
        (bytes(21 * 2**20), 413, "at most 20971520 bytes"),
    ],
)
def test_what_is_no_picture_is_the_senders_fault(client, picture, code, says):
    answer = client.post("/digit", content=picture)
    assert answer.status_code == code
    assert says in answer.json()["detail"]


def test_many_at_once_each_get_their_own_answer(client, labels):
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda i: client.post("/digit", content=png(i % 12)).json(), range(24))
        assert [answer["label"] for answer in answers] == labels * 2


def test_health_runs_the_engine(client):
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json()["backend"] == "ort-cpu"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_server_answers_as_the_page_starts_it(folder, command, labels):
    """With two workers, each of which has loaded its own session after the fork."""
    name, *words = command.split()
    pytest.importorskip(name, reason=f"{name} is not installed; it is in the group dev")
    pytest.importorskip("fastapi")
    line = [sys.executable, "-m", name, *words, *OPTIONS[name]]
    with subprocess.Popen(line, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        killer = threading.Timer(120, process.kill)  # readline has no timeout
        killer.start()
        try:
            log = []
            while not (found := LISTENING.search(log[-1] if log else "")):
                log.append(process.stderr.readline())
                assert log[-1], "".join(log)
            threading.Thread(target=process.stderr.read, daemon=True).start()
            url = f"{found[1]}/digit"
            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(lambda i: post(url, png(i)), range(12)))
            assert [answer["label"] for _, answer in answers] == labels
            code, answer = post(url, b"<html>")
            assert (code, "an HTML page" in answer["detail"]) == (422, True)
        finally:
            process.terminate()
            process.wait(30)
            killer.cancel()


def post(url, picture):
    """The code and the document that a server answers, which may take a while to start."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, picture, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
            time.sleep(0.1)
    raise AssertionError("the server does not listen")
