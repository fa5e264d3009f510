"""The supervisor, with small workers: who comes back, who drains, and what ends them all."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import serve_workers
from serve_workers import ask, listen

from lenet_serve.workers import reserve

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "SO_REUSEPORT") or not Path("/proc/self").exists(), reason="needs Linux"
)


class Fleet:
    """A supervisor in a process of its own."""

    def __init__(self, folder, function, workers):
        self.folder, self.count = folder, workers
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, serve_workers.__file__, function, str(workers), str(folder)],
                stderr=log,
                env=os.environ
                | {
                    "PYTHONPATH": os.pathsep.join(
                        [str(Path(serve_workers.__file__).parent), *sys.path]
                    )
                },
            )

    @property
    def log(self):
        return (self.folder / "log").read_text()

    @property
    def port(self):
        return int((self.folder / "port").read_text())

    def until(self, condition, what):
        end = time.monotonic() + 20
        while not (found := condition()):
            assert time.monotonic() < end, f"{what} did not come about; the log says: {self.log}"
            time.sleep(0.02)
        return found

    def ready(self):
        self.until((self.folder / "ready").exists, "ready")
        return self

    def pids(self):
        """The PID of each worker that answers."""
        pids = {}
        for _ in range(100):
            with contextlib.suppress(ConnectionError):
                number, pid, *_ = ask(self.port)
                pids[number] = pid
            if len(pids) == self.count:
                break
        return pids

    def end(self, *signals):
        for number in signals:
            self.process.send_signal(number)
            time.sleep(0.05)
        return self.process.wait(20)


@pytest.fixture
def fleet(tmp_path):
    fleets = []

    def start(function, workers=2):
        fleets.append(Fleet(tmp_path, function, workers))
        return fleets[-1]

    yield start
    for one in fleets:
        one.process.kill()
        one.process.wait()


def gone(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def test_workers_share_the_port_and_drain_at_sigterm(fleet, tmp_path):
    two = fleet("echo").ready()
    assert sorted(two.pids()) == [0, 1]
    assert two.end(signal.SIGTERM) == 0
    assert sorted(path.name for path in tmp_path.glob("drained-*")) == ["drained-0", "drained-1"]


def test_a_killed_worker_comes_back_and_its_counts_stay(fleet):
    two = fleet("echo").ready()
    pids = two.pids()
    total = max(ask(two.port)[3] for _ in range(20))
    os.kill(pids[1], signal.SIGKILL)
    two.until(lambda: two.pids().get(1, pids[1]) != pids[1], "another worker 1")
    assert two.pids()[0] == pids[0]
    _, _, _, after, text, _ = ask(two.port)
    assert after > total
    assert 'lenet_worker_restarts_total{reason="SIGKILL"} 1' in text
    assert "lenet_workers 2" in text
    assert "ended by SIGKILL; it is started again in 0.1 s" in two.log
    assert f"worker 1 (pid {pids[1]})" in two.log
    assert two.end(signal.SIGTERM) == 0


def test_one_that_fails_again_and_again_waits_longer_and_the_rest_serves(fleet, tmp_path):
    two = fleet("breaks_later").ready()
    pids = two.pids()
    os.kill(pids[1], signal.SIGKILL)
    two.until(lambda: (tmp_path / "started-1").read_text() == "xx", "a second failure")
    two.until(lambda: "started again in 0.4 s" in two.log, "a longer wait")
    assert {ask(two.port)[0] for _ in range(20)} == {0}
    text = ask(two.port)[4]
    assert 'lenet_worker_restarts_total{reason="exit"} 2' in text
    assert "lenet_workers 1" in text
    assert two.process.poll() is None
    assert two.end(signal.SIGTERM) == 0


def test_what_cannot_start_ends_all_with_its_reason_said_once(fleet):
    two = fleet("broken", 4)
    assert two.process.wait(20) == 4
    assert "error: worker 0: this artifact is broken" in two.log
    assert "worker 1" not in two.log


def test_a_later_worker_that_cannot_start_ends_all(fleet, tmp_path):
    (tmp_path / "good").touch()
    two = fleet("broken")
    assert two.process.wait(20) == 4
    assert (tmp_path / "drained-0").exists()


def test_a_second_signal_ends_at_once(fleet):
    one = fleet("stubborn").ready()
    begin = time.monotonic()
    assert one.end(signal.SIGTERM, signal.SIGINT) == 1
    assert time.monotonic() - begin < 2


def test_sighup_is_passed_on(fleet):
    two = fleet("echo").ready()
    two.process.send_signal(signal.SIGHUP)
    two.until(lambda: {ask(two.port)[2] for _ in range(10)} == {1}, "a reload")


def test_a_worker_tells_all_others(fleet):
    three = fleet("echo", 3).ready()
    teller = ask(three.port, b"t")[0]
    heard = {}

    def all_heard():
        number, *_, told = ask(three.port)
        heard[number] = told
        return len(heard) == 3 and sum(map(len, heard.values())) == 2

    three.until(all_heard, "what was told")
    assert heard == {n: [f"from {teller}"] if n != teller else [] for n in range(3)}
    os.kill(three.pids()[teller], signal.SIGKILL)
    heard.clear()

    def heard_by_its_successor():
        with contextlib.suppress(ConnectionError):  # the kernel chose the one that dies
            number, *_, told = ask(three.port)
            return number == teller and told == [f"from {teller}"]

    three.until(heard_by_its_successor, "what was told before")


def test_workers_drain_when_their_supervisor_dies(fleet, tmp_path):
    two = fleet("echo").ready()
    pids = two.pids()
    two.end(signal.SIGKILL)
    two.until(lambda: all(map(gone, pids.values())), "the workers' end")
    assert len(list(tmp_path.glob("drained-*"))) == 2


def test_a_port_in_use_is_not_shared_by_mistake():
    with reserve("127.0.0.1", 0) as reserved:
        port = reserved.getsockname()[1]
        with (
            listen(port),
            listen(port),
            pytest.raises(OSError, match="in use"),
        ):
            reserve("127.0.0.1", port)
