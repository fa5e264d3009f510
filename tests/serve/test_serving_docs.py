"""docs/serving.md: every block of it runs, and its tables are the code's."""

import contextlib
import html
import io
import json
import os
import re
import shlex
import shutil
import subprocess

import pytest
import typer
from http_server import running
from PIL import Image
from processes import REPOSITORY

import lenet_serve
from lenet_deploy.cli import app
from lenet_runtime.images.digits import load_digits

PAGE = (REPOSITORY / "docs" / "serving.md").read_text()
SCRIPTS = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.S))
SHELL = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
COMMANDS = [
    line
    for block in SHELL
    for line in block.splitlines()
    if line.startswith("lenet-deploy ")
]  # fmt: skip
CURLS = [block for block in SHELL if "curl" in block]
SERVE = typer.main.get_command(app).commands["serve"]


@pytest.fixture(scope="module")
def server(native_session):
    pytest.importorskip("grpc")
    service = lenet_serve.Service([lenet_serve.Model("lenet", "1", native_session)])
    with running(service, grpc_port=0) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where `seven.png` lies, a scan of a bundled 7."""
    digits = load_digits()
    seven = Image.fromarray(255 - digits.images[digits.labels.tolist().index(7)])
    folder = tmp_path_factory.mktemp("serving")
    seven.resize((200, 200)).save(folder / "seven.png")
    return folder


@pytest.fixture
def here(server):
    """`here(block)`: a block with this server's addresses."""
    grpc = re.search(r"grpc: (?:grpc://)?([\d.]+:\d+)", server.server.addresses)[1]

    def here(block):
        http = server.url.removeprefix("http://")
        return block.replace("127.0.0.1:8000", http).replace("127.0.0.1:8001", grpc)

    return here


def test_the_page_has_no_block_that_is_not_run():
    assert PAGE.count("```python") == len(SCRIPTS) == 3
    assert len(SHELL) == len(CURLS) + 3
    assert len(COMMANDS) == 4
    assert PAGE.count("```json") == 1


def printed(folder, script):
    """What a script prints, run in this process: its imports are there already."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.chdir(folder):
        exec(compile(script, "script", "exec"), {"__name__": "__main__"})
    return text.getvalue().strip()


@pytest.mark.parametrize(("name", "says"), [("over_rest.py", "7"), ("over_grpc.py", "[1]")])
def test_clients_print_the_digit(folder, here, name, says):
    pytest.importorskip("tritonclient")
    assert printed(folder, here(SCRIPTS[name])) == says


def test_a_service_is_embedded(folder):
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    script = SCRIPTS["embedded.py"]
    names = {}
    exec(compile(script, "embedded.py", "exec"), names)
    try:
        client = TestClient(names["app"])
        assert client.get("/digits/v2/health/ready").status_code == 200
        assert "Draw a digit" in client.get("/digits/").text
        answer = client.post(
            "/digits/v1/predict",
            content=(folder / "seven.png").read_bytes(),
            headers={"Content-Type": "image/png"},
        )
        assert answer.json()["predictions"][0]["label"] == "7"
    finally:
        names["service"].close()


def curl(folder, block):
    """What a block of commands prints."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stdout
    return done.stdout


@pytest.mark.parametrize("block", CURLS)
def test_curl_is_answered(folder, here, block):
    answers = curl(folder, here(block))
    if "seven.png" in block:
        assert answers.count('"label":"7"') == 2
    else:
        assert '"logits"' in answers


def test_examples_of_the_server_s_own_page_are_answered(server, folder, here):
    pytest.importorskip("tritonclient")
    _, _, body = server.ask("GET", "/docs")
    pictures, tensors, script = (
        here(html.unescape(re.sub("<.*?>", "", block)))
        for block in re.findall("<pre><code>(.*?)</code></pre>", body.decode(), re.S)
    )
    assert curl(folder, pictures).count('"label":"7"') == 2
    assert '"labels"' in curl(folder, tensors)
    assert printed(folder, script).startswith("[[")


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command):
    _, name, *words = shlex.split(command, comments=True)
    group = typer.main.get_command(app)
    group.commands[name].make_context(name, words)  # which raises where it is not


def test_publishing_by_rename(tmp_path):
    (block,) = (block for block in SHELL if "cp -r" in block)
    (tmp_path / "artifacts" / "native-fp32").mkdir(parents=True)
    subprocess.run(["bash", "-euc", block], cwd=tmp_path, check=True)
    assert os.listdir(tmp_path / "models" / "lenet") == ["2"]


def test_options_are_those_of_the_command():
    written = {}
    for options, defaults in re.findall(r"^\| (`--[^|]*) \| ([^|]*) \|", PAGE, re.M):
        names = re.findall(r"`(--[\w-]+)`", options)
        each = defaults.split(", ")  # one for each option, or one for all of the row
        if len(each) == 1:
            each *= len(names)
        written |= dict(zip(names, each, strict=True))
    params = {
        max(param.opts, key=len): param.default
        for param in SERVE.params
        if param.param_type_name == "option"
    }
    del params["--quiet"]  # of every command
    assert written.keys() == params.keys()
    for name, default in params.items():
        if default not in (None, False):
            assert written[name] == str(default), name


def test_errors_name_options_that_there_are():
    known = {name for param in SERVE.params for name in param.opts}
    folder = REPOSITORY / "serving" / "lenet_serve"
    named = {
        (path.name, name)
        for path in folder.rglob("*.py")
        for name in re.findall(r"\((--[a-z-]+)\)", path.read_text())
    }
    assert len(named) > 5
    assert {name for _, name in named} <= known, named


def test_metrics_are_those_that_are_served(server):
    section = PAGE[PAGE.index("\n## Metrics") : PAGE.index("\n## Logs")]
    written = re.findall(r"`((?:lenet|nv|process)_\w+)`", section)
    _, _, body = server.ask("GET", "/metrics")
    assert sorted(written) == sorted(re.findall(r"# TYPE (\w+)", body.decode()))


def test_the_line_of_log_is_what_is_logged():
    from lenet_serve.logs import RequestLine

    written = json.loads(re.search(r"```json\n(.*?)```", PAGE, re.S)[1])
    fields = RequestLine("", "", "lenet", "1", "http", 200, 1, 0, 14, 31).json()
    assert list(written) == ["time", "level", *json.loads(f"{{{fields}}}")]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([\w.-]+\.md)\)", PAGE):
        if target != "serving-differences.md":  # written by `make test-triton`
            assert (REPOSITORY / "docs" / target).is_file(), target
