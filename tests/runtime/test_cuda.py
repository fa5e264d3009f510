"""The layer over the CUDA driver, on a driver without a GPU."""

import ctypes
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cuda_driver import TYPES, floats

from lenet_runtime import cuda
from lenet_runtime.cuda import driver
from lenet_runtime.errors import BackendUnavailable, DeployError, DeviceMemoryError

CUBIN = b"\x7fELF pretend"


def double(values, blocks, threads, shared):
    source, target, count = values
    floats(target, count)[:] = 2 * floats(source, count)


@pytest.fixture
def fake(fake_cuda):
    fake = fake_cuda()
    fake.kernel("double", double, TYPES)
    return fake


@pytest.fixture
def context(fake):
    context = cuda.Context(0)
    yield context
    context.close()


class Doubling:
    """Four floats to the GPU, doubled, and back."""

    def __init__(self, context):
        self.given, self.answer = context.pinned(16), context.pinned(16)
        self.source, self.target = context.allocate(16), context.allocate(16)
        self.stream = context.stream()
        (self.kernel,) = context.functions(CUBIN, ["double"])
        self.arguments = cuda.Arguments(
            ctypes.c_ulonglong(self.source.pointer),
            ctypes.c_ulonglong(self.target.pointer),
            ctypes.c_uint(4),
        )

    def queue(self):
        self.stream.upload(self.source.pointer, self.given.pointer, 16)
        self.kernel.launch(self.stream, self.arguments, blocks=1, threads=32)
        self.stream.download(self.answer.pointer, self.target.pointer, 16)

    def give(self, *values):
        self.given.array.view(np.float32)[:] = values

    def result(self):
        return self.answer.array.view(np.float32).tolist()


def test_a_machine_without_a_driver_says_what_to_install(no_cuda):
    with pytest.raises(BackendUnavailable, match=r"no NVIDIA driver.*install the driver"):
        cuda.gpus()


def test_a_driver_that_is_too_old_is_told_from_a_missing_one(monkeypatch):
    monkeypatch.setattr(driver, "LIBRARY", "libm.so.6")  # a library without any of its functions
    driver.library.cache_clear()
    try:
        with pytest.raises(BackendUnavailable, match=r"CUDA 11\.4 or later.*cuInit"):
            cuda.count()
    finally:
        driver.library.cache_clear()


def test_every_gpu_is_listed(fake_cuda):
    fake_cuda(devices=2, memory=2**31, capability=(8, 6))
    first, second = cuda.gpus()
    assert (first.name, second.name, second.index) == ("Fake GPU 0", "Fake GPU 1", 1)
    assert first.compute_capability == "8.6"
    assert first.memory_bytes == 2**31
    assert first.driver == "13.2"
    assert first.uuid != second.uuid


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(fake_cuda):
    fake_cuda(devices=2)
    with pytest.raises(BackendUnavailable, match=r"no 'cuda:2'.*cuda:0 \(Fake GPU 0\), cuda:1"):
        cuda.Context(2)


def test_a_driver_without_gpus_says_where_to_look(fake_cuda):
    fake_cuda(devices=0)
    with pytest.raises(BackendUnavailable, match="CUDA_VISIBLE_DEVICES"):
        cuda.gpus()


def test_a_forked_process_is_told_about_fork(fake_cuda):
    fake_cuda().fail("cuInit", 3)
    with pytest.raises(BackendUnavailable, match="spawn"):
        cuda.gpu(0)


def test_a_gpu_that_another_process_owns_is_unavailable(fake_cuda):
    fake_cuda().fail("cuDevicePrimaryCtxRetain", 46)
    with pytest.raises(BackendUnavailable, match="GPU 0 cannot be used"):
        cuda.Context(0)


def test_work_is_done_when_the_stream_is_and_not_before(context):
    with context:
        work = Doubling(context)
        work.give(1, 2, 3, 4)
        before = work.result()
        work.queue()
        assert np.array_equal(work.result(), before, equal_nan=True)
        work.stream.synchronize()
        assert work.result() == [2, 4, 6, 8]


def test_a_graph_runs_what_was_captured_with_what_is_in_memory_then(fake, context):
    with context:
        work = Doubling(context)
        work.give(1, 2, 3, 4)
        graph = work.stream.capture(work.queue)
        work.stream.synchronize()
        assert work.result() != [2, 4, 6, 8]  # captured, not run
        for value in (5.0, 7.0):
            work.give(value, value, value, value)
            graph.launch(work.stream)
            work.stream.synchronize()
            assert work.result() == [2 * value] * 4
    assert (fake.captures, fake.graph_launches) == (1, 2)


def test_what_cannot_be_captured_is_an_error_and_the_stream_goes_on(context):
    with context:
        work = Doubling(context)
        with pytest.raises(DeployError, match="900"):
            work.stream.capture(work.stream.synchronize)
        with pytest.raises(ZeroDivisionError):
            work.stream.capture(lambda: 1 / 0)
        with pytest.raises(DeployError, match="allocating"):
            work.stream.capture(lambda: context.allocate(16))
        work.give(1, 1, 1, 1)
        work.queue()
        work.stream.synchronize()
        assert work.result() == [2] * 4


def test_a_graph_that_cannot_be_made_ready_is_freed(fake, context):
    with context:
        work = Doubling(context)
        fake.fail("cuGraphInstantiateWithFlags", 1)
        with pytest.raises(DeployError, match="graph ready"):
            work.stream.capture(work.queue)
        fake.heal()


def test_too_little_memory_is_its_own_error_and_not_the_end(fake_cuda):
    fake_cuda(memory=1024)
    context = cuda.Context(0)
    with context:
        kept = context.allocate(512)
        with pytest.raises(DeviceMemoryError, match=r"1000 bytes on GPU 0.*out of memory"):
            context.allocate(1000)
        assert context.free_memory() == 512
        kept.close()
        context.allocate(1000)
    context.close()


def test_closing_frees_everything_once(fake, context):
    with context:
        work = Doubling(context)
        graph, event = work.stream.capture(work.queue), context.event()
        graph.close()
        graph.close()
        event.close()
        work.source.close()
    assert fake.live > 1
    context.close()
    context.close()
    assert fake.live == 0


def test_events_time_what_lies_between_them(context):
    with context:
        work, start, end = Doubling(context), context.event(), context.event()
        start.record(work.stream.handle)
        work.kernel.launch(work.stream, work.arguments, blocks=1, threads=32)
        end.record(work.stream.handle)
        with pytest.raises(DeployError, match="600"):
            end.microseconds_since(start)
        end.synchronize()
        assert end.microseconds_since(start) == pytest.approx(5)


def test_a_stream_can_wait_for_another(context):
    with context:
        first, second, event = Doubling(context), Doubling(context), context.event()
        first.give(1, 2, 3, 4)
        first.queue()
        event.record(first.stream.handle)
        second.stream.wait(event)
        second.stream.synchronize()
        assert first.result() == [2, 4, 6, 8]


def test_code_that_is_none_and_kernels_that_are_missing_are_named(context):
    with context:
        with pytest.raises(DeployError, match="loading compiled kernels"):
            context.functions(b"not a cubin", ["double"])
        with pytest.raises(DeployError, match="'treble'"):
            context.functions(CUBIN, ["treble"])


def test_a_block_cannot_have_more_shared_memory_than_there_is(context):
    with context:
        work = Doubling(context)
        work.kernel.allow_shared(227 * 1024)
        with pytest.raises(DeployError, match=r"needs 240000 .* this GPU has 232448"):
            work.kernel.allow_shared(240_000)
        with pytest.raises(DeployError, match="launching the kernel 'double'"):
            work.kernel.launch(work.stream, work.arguments, blocks=0, threads=32)


def test_writing_past_the_end_is_refused(context):
    with context, pytest.raises(ValueError, match="at most 4 bytes, found 5"):
        context.allocate(4).write(b"12345")


def test_each_thread_enters_the_context_for_itself(context):
    everybody = threading.Barrier(4, timeout=30)

    def run(_):
        everybody.wait()
        with pytest.raises(DeployError, match="201"):
            context.allocate(16)
        with context:
            work = Doubling(context)
            work.give(1, 2, 3, 4)
            work.queue()
            work.stream.synchronize()
            return work.result()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == [[2, 4, 6, 8]] * 4


def test_the_callers_context_is_on_top_again_whatever_happened(fake, context):
    with context:
        with pytest.raises(DeployError), context:
            context.functions(b"not a cubin", ["double"])
        assert fake.depth == 1


def test_a_gpu_that_refuses_its_context_is_released_all_the_same(fake):
    context = cuda.Context(0)
    fake.fail("cuCtxPushCurrent_v2", 700)
    context.close()
    fake.heal()
    assert fake.live == 0
