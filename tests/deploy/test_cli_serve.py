"""`lenet-deploy serve`: what it refuses before anything starts, and what it says."""

import json
import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from cli_helper import assert_fits, run, run_alone
from processes import REPOSITORY

OFF = ("--http-port", "0", "--grpc-port", "off")


def error_of(result):
    """What is said on stderr, on one line."""
    return " ".join(result.stderr.split())


@pytest.mark.parametrize("columns", [80, 200])
def test_help_fits_and_has_panels(columns):
    shown = run_alone("serve", "--help", COLUMNS=str(columns)).stdout
    assert_fits(shown, columns)
    for panel in ("Listening and ending", "Security", "Limits"):
        assert panel in shown
    for flag in ("--max-body", "--token-file", "--drain-delay", "--uds", "--allow-model-control"):
        assert flag in shown


@pytest.mark.parametrize(
    ("missing", "flags", "said"),
    [
        ("uvicorn", OFF, "[serve]"),
        ("orjson", OFF, "[serve]"),
        ("grpc", (), "[grpc]"),
    ],
)
def test_what_is_missing_is_said(tmp_path, missing, flags, said):
    done = run_alone("serve", tmp_path, *flags, without=[missing], code=4)
    assert f"needs {missing}" in done.stderr
    assert said in done.stderr
    assert ("--grpc-port off" in done.stderr) == (missing == "grpc")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--grpc-port", "no"], "--grpc-port: expected off or a port of 0 to 65535, found 'no'"),
        (["--grpc-port", "65536"], "--grpc-port"),
        (["--log-format", "xml"], "--log-format"),
        (["--log-sample", "2"], "found '2'"),
        (["--versions", "old"], "--versions"),
        (["--tls-cert", "x.pem"], "--tls-cert, --tls-key: expected both or neither"),
        (["--uds", "x", "--workers", "2"], "--uds: expected --workers 1"),
    ],
)
def test_usage(tmp_path, flags, said):
    assert said in error_of(run("serve", tmp_path, *OFF, *flags, code=2))


@pytest.mark.parametrize("token", ["", "two words", "ümlaut", "a\x00b"])
def test_a_token_is_one_word(tmp_path, token):
    file = tmp_path / "token"
    file.write_text(token)
    assert "--token-file" in error_of(run("serve", tmp_path, *OFF, "--token-file", file, code=2))


def test_files_that_are_not_there(tmp_path):
    nowhere = tmp_path / "nowhere"
    assert "nowhere" in error_of(run("serve", tmp_path, *OFF, "--token-file", nowhere, code=1))
    flags = ("--tls-cert", nowhere, "--tls-key", nowhere)
    assert "nowhere" in error_of(run("serve", tmp_path, *OFF, *flags, code=1))
    assert "nowhere" in error_of(run("serve", nowhere, *OFF, code=1))


def test_a_certificate_that_is_none(tmp_path):
    file = tmp_path / "file"
    file.write_text("no PEM")
    result = run("serve", tmp_path, *OFF, "--tls-cert", file, "--tls-key", file, code=1)
    assert "--tls-cert, --tls-key: expected a certificate" in error_of(result)


def test_a_port_in_use(native_artifact):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = ("--trust", "--http-port", port, "--grpc-port", "off")
        result = run("serve", native_artifact.path, *flags, code=1)
        assert f"127.0.0.1:{port}" in error_of(result)
        assert "in use" in error_of(result)
        flags = ("--trust", "--http-port", 0, "--grpc-port", port)
        assert str(port) in run_alone("serve", native_artifact.path, *flags, code=1).stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_not_trusted(native_artifact, workers):
    """The error of a thread or a process that loads, in the words of the command line."""
    done = run_alone("serve", native_artifact.path, *OFF, "--workers", workers, code=1)
    assert "pass --trust" in done.stderr.splitlines()[-1]


@pytest.fixture
def served(native_artifact):
    """`served(*flags)`: a process that is ready, and the line that says so."""
    processes = []

    def start(*flags):
        process = subprocess.Popen(
            [sys.executable, "-m", "lenet_deploy", "serve", native_artifact.path, "--trust",
             "--drain-delay", "0", *flags],
            stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
        )  # fmt: skip
        processes.append(process)
        for line in process.stderr:
            if line.startswith("ready: "):
                return process, line.strip()
        raise AssertionError(process.wait())

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()


def test_one_line_says_where_it_answers_and_ctrl_c_ends_it(served):
    process, line = served("--http-port", "0", "--grpc-port", "0", "--name", "digits")
    match = re.fullmatch(r"ready: (http://127\.0\.0\.1:\d+) grpc: 127\.0\.0\.1:(\d+)", line)
    assert httpx.get(f"{match[1]}/v2/models/digits/ready").status_code == 200
    socket.create_connection(("127.0.0.1", int(match[2]))).close()
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 0


def test_workers_share_a_port_and_drain(served):
    process, line = served(*OFF, "--workers", "2", "--log-format", "json")
    url = line.split()[1]
    assert httpx.get(f"{url}/v2/health/ready").status_code == 200
    answer = httpx.post(f"{url}/v2/models/lenet/infer", json={}, headers={"x-request-id": "r7"})
    assert answer.status_code == 400
    process.terminate()
    assert process.wait(10) == 0
    logged = [json.loads(line) for line in process.stderr if line.startswith("{")]
    assert any(entry.get("code") == 400 for entry in logged)
