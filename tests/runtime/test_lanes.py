"""What the engines on the CUDA driver share: lanes, and when they are made, reused and closed."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cuda_driver import TYPES, on_images
from samples import first_ten, noise

from lenet_runtime import cuda
from lenet_runtime.backends.lane_predictor import LanePredictor
from lenet_runtime.cuda.lanes import Batch, Lane
from lenet_runtime.errors import DeployError, DeviceMemoryError

MOST = 16


class Engine:
    """A kernel, and what a test lets happen while it computes."""

    def __init__(self, driver):
        self.driver, self.meanwhile = driver, lambda: None
        driver.kernel("first ten", on_images(self._compute), TYPES)

    def _compute(self, images):
        self.meanwhile()
        return first_ten(images)


class EngineLane(Lane):
    """Every size has a graph, and three are kept."""

    def __init__(self, context, engine, **options):
        super().__init__(context, MOST, limit=3, **options)
        self.engine = engine

    def new(self, images, size):
        def compute():
            stream = self.stream.handle
            code = self.engine.driver.launch("first ten", stream, self.images, self.logits, size)
            cuda.driver.check(code, "launching")

        return Batch(self, size, compute)

    def prepare(self, images):
        return self.batch(len(images), images, len(images), graph=True)


class EnginePredictor(LanePredictor):
    released = False

    def __init__(self, engine):
        super().__init__(cuda.Context(0))
        self.engine = engine

    def run(self, images):
        return self.run_on("copies", images)

    def make_lane(self, kind, count):
        return EngineLane(self.context, self.engine, copies=kind != "no copies")

    def release(self):
        self.released = True

    @property
    def idle(self):
        return self._idle["copies"]


@pytest.fixture
def driver(fake_cuda):
    return fake_cuda()


@pytest.fixture
def engine(driver):
    return Engine(driver)


@pytest.fixture
def predictor(engine):
    predictor = EnginePredictor(engine)
    yield predictor
    predictor.close()
    assert predictor.released


def right(predictor, count, seed=0):
    images = noise(count, seed)
    np.testing.assert_array_equal(predictor.run(images), first_ten(images))


# ---- lanes


@pytest.mark.parametrize("copies", [True, False])
def test_a_graph_is_captured_once_and_holds_everything(driver, predictor, copies):
    kind = "copies" if copies else "no copies"
    predictor.run_on(kind, noise(4))
    captures, steps = driver.captures, driver.steps()
    copied = ["upload", "kernel", "download"] if copies else ["kernel"]
    assert steps == [*copied, "synchronize", "graph", "synchronize"]
    for seed in range(3):
        found = predictor.run_on(kind, noise(4, seed))
        np.testing.assert_array_equal(found, first_ten(noise(4, seed)))
    assert driver.steps() == ["graph", "synchronize"] * 3
    assert driver.captures == captures == 1


def test_a_lane_remembers_the_sizes_that_are_in_use(driver, predictor):
    for count in (1, 2, 3, 1, 4, 1, 5, 1, 6):
        right(predictor, count)
    assert driver.captures == 6
    for count in (1, 6):
        right(predictor, count)
    assert driver.captures == 6
    right(predictor, 2)
    assert driver.captures == 7


def test_logits_are_the_callers_own(predictor):
    first = predictor.run(noise(4))
    kept = first.copy()
    predictor.run(noise(4, 1))
    np.testing.assert_array_equal(first, kept)


def test_buffers_that_do_not_fit_leave_the_session_usable(driver, predictor):
    driver.fail("cuMemAlloc_v2", 2, after=1)
    with pytest.raises(DeviceMemoryError, match="out of memory"):
        predictor.run(noise(2))
    assert driver.used == 0
    driver.heal()
    right(predictor, 2)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("cuGraphLaunch", "launching a graph"),
        ("cuCtxPushCurrent_v2", "using GPU 0"),
    ],
)
def test_a_lane_that_failed_is_not_used_again(driver, predictor, function, message):
    right(predictor, 2)
    driver.fail(function, 700)
    with pytest.raises(DeployError, match=message):
        predictor.run(noise(2))
    assert not predictor.idle
    driver.heal()
    right(predictor, 2)


# ---- threads


def test_threads_have_lanes_of_their_own(predictor):
    barrier = threading.Barrier(4)

    def work(seed):
        barrier.wait(30)
        for number in range(20):
            right(predictor, 1 + (seed + number) % 11, 100 * seed + number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert 1 <= len(predictor.idle) <= 4


def test_a_thread_leaves_its_lane_to_the_next(predictor):
    for _ in range(3):
        thread = threading.Thread(target=predictor.run, args=(noise(2),))
        thread.start()
        thread.join()
    assert len(predictor.idle) == 1


# ---- closing


def test_a_closed_predictor_runs_no_more(driver, predictor):
    right(predictor, 2)
    assert driver.used > 0
    predictor.close()
    predictor.close()
    assert (driver.used, driver.live) == (0, 0)
    for call in (predictor.run, lambda images: predictor.stages(images, graph=False)):
        with pytest.raises(DeployError, match="this session is closed"):
            call(noise(2))


def test_a_call_that_is_under_way_outlives_close(driver, engine, predictor):
    entered, proceed = threading.Event(), threading.Event()

    def meanwhile():
        entered.set()
        assert proceed.wait(30)

    engine.meanwhile = meanwhile
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(right, predictor, 3)
        assert entered.wait(30)
        predictor.close()
        assert driver.live
        assert not predictor.released
        proceed.set()
        answer.result(30)
    assert driver.live == 0


def test_the_gpu_is_kept_until_close_is_done_with_it(driver, predictor, monkeypatch):
    """A user that ends while `close` gives back the idle lanes does not free them under it."""
    right(predictor, 2)
    stages = predictor.stages(noise(2), graph=False)
    (idle,) = predictor.idle
    close = idle.close

    def slowly():
        stages.close()
        assert not predictor.released
        close()

    monkeypatch.setattr(idle, "close", slowly)
    predictor.close()
    assert predictor.released
    assert driver.live == 0


@pytest.mark.parametrize("closing", [False, True])
def test_a_gpu_that_refuses_its_context_is_given_back(driver, predictor, closing):
    stages = predictor.stages(noise(2), graph=False)
    driver.fail("cuCtxPushCurrent_v2", 700)
    with pytest.raises(DeployError, match="using GPU 0"):
        stages.close() if closing else predictor.run(noise(2))
    driver.heal()
    if not closing:
        stages.close()
    predictor.close()
    assert driver.live == 0


# ---- step by step


@pytest.mark.parametrize("graph", [False, True])
def test_a_batch_can_be_timed_step_by_step(driver, predictor, graph):
    images = noise(3)
    stages = predictor.stages(images, graph=graph)
    assert stages.stream
    driver.steps()
    for step in (stages.upload, stages.compute, stages.download):
        step()
    assert driver.steps() == ["upload", "graph" if graph else "kernel", "download"]
    np.testing.assert_array_equal(stages.answer(), first_ten(images))
    used = driver.used
    stages.close()
    assert driver.used < used
    right(predictor, 3)


def test_steps_may_be_closed_twice_and_outlive_the_session(driver, predictor):
    """A count that fell twice would keep the GPU from being given back."""
    stages = predictor.stages(noise(2), graph=True)
    predictor.close()
    assert not predictor.released
    stages.close()
    stages.close()
    assert driver.live == 0
    with pytest.raises(DeployError, match="this session is closed"):
        stages.compute()


def test_steps_that_fail_to_be_made_leave_nothing(driver, predictor):
    driver.fail("cuStreamEndCapture", 900)
    with pytest.raises(DeployError, match="capturing a graph"):
        predictor.stages(noise(2), graph=True)
    assert driver.used == 0
    driver.heal()
    predictor.close()
    assert driver.live == 0
