"""The stopwatch on a driver without a GPU, and what nvidia-smi tells."""

import stat

import pytest

from lenet_bench.gpu import state, stopwatch
from lenet_runtime import cuda

MIB = 2**20
ANSWER = "300.5, 700.00, 1980, 3201, [N/A], 40, 99, 1000, 143771, P0, 580.1, 0x0000000000000044"


def test_work_is_timed_behind_a_hold_by_the_drivers_events(fake_cuda):
    fake_cuda()
    with stopwatch.opened(0, copy_bytes=MIB) as clock:
        assert clock.bytes_per_second == pytest.approx(2 * 10e9, rel=0.05)  # 10 bytes a ns
        context = cuda.Context(0)
        buffer, pinned, stream = context.allocate(64), context.pinned(64), context.stream()

        def work():
            for _ in range(3):
                stream.upload(buffer.pointer, pinned.pointer, 64)

        for hold in (False, True):
            span, in_time = clock.span_us(work, stream.handle, hold=hold)
            assert span == pytest.approx(3.02, rel=0.01)  # 1 us a copy; the hold is not in it
            assert in_time is hold
        context.close()


def test_launches_after_the_hold_has_ended_are_found_out(fake_cuda):
    fake_cuda()
    with stopwatch.opened(0, copy_bytes=MIB) as clock:
        context = cuda.Context(0)
        stream = context.stream()
        assert clock.span_us(stream.synchronize, stream.handle, hold=True)[1] is False
        context.close()


def test_the_copy_takes_a_sixteenth_of_the_free_memory_at_most(fake_cuda):
    fake_cuda(memory=32 * MIB)
    with stopwatch.opened(0) as clock:
        assert clock.copy_bytes == 2 * MIB
        assert clock.hold_us > 0


@pytest.fixture
def gpu(fake_cuda):
    fake_cuda()
    return cuda.gpu(0)


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """`nvidia_smi(script)`: a shell script in its place, which also notes how it was called."""

    def install(script):
        path = tmp_path / "nvidia-smi"
        path.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n{script}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return tmp_path / "calls"

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return install


def test_the_state_has_numbers_with_units_and_the_reasons_of_the_clocks(gpu, nvidia_smi):
    calls = nvidia_smi(f"echo '{ANSWER}'")
    now = state.read(gpu)
    assert now["power_w"] == 300.5
    assert now["sm_mhz"] == 1980
    assert now["sm_max_mhz"] is None
    assert (now["driver"], now["performance_state"]) == ("580.1", "P0")
    assert now["throttle_reasons"] == ["power cap", "hardware thermal slowdown"]
    assert "--id=GPU-f0f0f0f0-f0f0-f0f0-f0f0-f0f0f0f0f0f0" in calls.read_text()


def test_an_older_driver_is_asked_by_the_older_name(gpu, nvidia_smi):
    nvidia_smi(f'case "$2" in *event_reasons*) echo no; exit 2;; esac; echo "{ANSWER}"')
    assert state.read(gpu)["throttle_reasons"] == ["power cap", "hardware thermal slowdown"]


def test_without_nvidia_smi_there_is_a_reason(gpu, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with state.Watch(gpu) as watch:
        pass
    assert "nvidia-smi cannot be used" in watch.summary["before"]["reason"]
    assert watch.summary["during"]["samples"] == 0


@pytest.mark.parametrize("script", ["echo 'No devices were found'; exit 6", "echo nonsense"])
def test_an_nvidia_smi_that_fails_is_quoted(gpu, nvidia_smi, script):
    nvidia_smi(script)
    assert "No devices" in (reason := state.read(gpu)["reason"]) or "nonsense" in reason


def test_the_watch_reads_while_it_is_open(gpu, nvidia_smi):
    loop = f"for i in 1 2 3; do echo '{ANSWER}'; done; exec sleep 60"
    nvidia_smi(f'case "$*" in *loop*) {loop};; esac; echo "{ANSWER}"')
    with state.Watch(gpu) as watch:
        while len(watch._states) < 3:
            pass
    during = watch.summary["during"]
    assert during["samples"] == 3
    assert during["power_w"] == {"min": 300.5, "p50": 300.5, "max": 300.5}
    assert during["sm_max_mhz"] is None
    assert watch.summary["after"]["temperature_c"] == 40
