"""systemd hears that the server is ready, once it is."""

import contextlib
import os
import signal
import socket
import sys

import pytest

from lenet_serve.launch import Plan, launch
from lenet_serve.notify import notify
from lenet_serve.repository import RepositoryOptions
from lenet_serve.server import ServerOptions

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="systemd's")


@pytest.fixture(params=["file", "abstract"])
def manager(request, tmp_path, monkeypatch):
    name = str(tmp_path / "notify") if request.param == "file" else f"@lenet-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(name.replace("@", "\0"))
        channel.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield channel


def test_a_line_arrives(manager):
    notify("READY=1")
    assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("name", [None, "", "vsock:2:1234"])
def test_without_a_manager_nothing_happens(monkeypatch, name):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if name is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", name)
    notify("READY=1")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_server_tells_once_it_answers(exported, tmp_path, monkeypatch, workers):
    """The addresses are said first, so whoever is told finds them."""
    heard = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def say(line):
            with contextlib.suppress(BlockingIOError):
                heard.append(channel.recv(100))
            heard.append(line)
            os.kill(os.getpid(), signal.SIGTERM)

        plan = Plan(
            RepositoryOptions(exported("native").path, trust=True, poll_seconds=0),
            ServerOptions(http_port=0, grpc_port=None, drain_delay=0.0),
            workers=workers,
        )
        assert launch(plan, say) == 0
        (line,) = heard
        assert line.startswith("ready: http://127.0.0.1:")
        assert channel.recv(100) == b"READY=1"
