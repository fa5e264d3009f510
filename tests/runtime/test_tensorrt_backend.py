"""The runtime of TensorRT engines, on a TensorRT and a CUDA driver that need no GPU."""

import sys

import fake_tensorrt
import numpy as np
import pytest
from fake_tensorrt import engine_bytes, write
from samples import first_ten, noise

from lenet_runtime import BACKENDS
from lenet_runtime.backends.tensorrt import lane
from lenet_runtime.errors import DeployError, DeviceMemoryError


@pytest.fixture
def load(fake_trt, tmp_path):
    """`load(**changes)`: a predictor of an engine, closed when the test ends."""
    opened = []

    def make(profile=(1, 4, 8), batch=None, **needs):
        sizes = profile if batch is None else (batch,) * 3
        needs.setdefault("profile", ":".join(map(str, sizes)))
        data = engine_bytes(sizes, batch)
        artifact = write(tmp_path / f"artifact{len(opened)}", data, batch, **needs)
        opened.append(BACKENDS["tensorrt"].load(artifact, "cuda:0", None))
        return opened[-1]

    yield make
    for predictor in opened:
        predictor.close()


# ---- batches


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 16, 29])
def test_each_image_gets_its_own_logits_at_any_batch_size(load, count):
    """Also above the profile's largest, 8, in pieces."""
    predictor = load()
    for seed in range(3):  # the first run is no graph
        images = noise(count, seed)
        np.testing.assert_array_equal(predictor.run(images), first_ten(images))


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_a_batch_below_the_profile_is_filled_up(load, fake_trt, count):
    seen = []
    fake_trt.compute = lambda images: seen.append(images) or first_ten(images)
    predictor = load(profile=(4, 4, 8))
    predictor.run(noise(8))
    images = noise(count, 1)
    np.testing.assert_array_equal(predictor.run(images), first_ten(images))
    last = seen[-1]
    assert len(last) == 4
    assert not last[count % 8 :].any()  # black, and nothing of the batch before


def test_a_static_engine_runs_its_own_batch(load):
    images = noise(5)
    np.testing.assert_array_equal(load(batch=5).run(images), first_ten(images))


# ---- graphs


def test_each_batch_size_is_captured_once_and_then_launched(load, fake_gpu, fake_trt):
    predictor = load()
    for _ in range(3):
        for count in (1, 4):
            predictor.run(noise(count))
    assert fake_gpu.captures == 2
    assert fake_gpu.graph_launches == 6  # also in the first run, so that a self-test proves it
    assert fake_trt.executions == 4  # a run and a capture for each size


def test_a_lane_remembers_a_limited_number_of_sizes(load, fake_gpu, fake_trt):
    predictor = load(profile=(1, 4, 40))
    for count in range(1, 41):
        predictor.run(noise(count))
    assert fake_trt.contexts == lane.SIZES
    before = fake_gpu.captures
    predictor.run(noise(40))  # the latest is still there
    assert fake_gpu.captures == before
    predictor.run(noise(1))  # the oldest is not
    assert fake_gpu.captures == before + 1


@pytest.mark.parametrize("capturable", [False, None], ids=["capture fails", "it says so"])
def test_what_cannot_be_captured_runs_step_by_step(load, fake_gpu, fake_trt, capturable):
    fake_trt.capturable = capturable
    predictor = load()
    for seed in range(3):
        images = noise(4, seed)
        np.testing.assert_array_equal(predictor.run(images), first_ten(images))
    assert fake_gpu.graph_launches == 0
    assert predictor.stages(noise(4), graph=True) is None


# ---- closing


def test_the_engine_goes_before_its_gpu_and_after_its_last_user(load, fake_gpu, fake_trt):
    predictor = load()
    predictor.run(noise(2))
    stages = predictor.stages(noise(2), graph=False)
    predictor.close()
    assert predictor._engine is not None
    stages.close()
    assert predictor._engine is None
    assert (fake_trt.contexts, fake_gpu.live) == (0, 0)


# ---- memory


@pytest.mark.parametrize("where", ["fails", "makes_contexts"])
def test_what_tensorrt_has_no_memory_for_leaves_the_session_usable(load, fake_trt, where):
    predictor = load()
    predictor.run(noise(1))
    setattr(fake_trt, where, fake_tensorrt.NO_MEMORY if where == "fails" else False)
    with pytest.raises(DeviceMemoryError, match=r"TensorRT 10\.9.*too little free .*34627584"):
        predictor.run(noise(2))
    setattr(fake_trt, where, "" if where == "fails" else True)
    np.testing.assert_array_equal(predictor.run(noise(2)), first_ten(noise(2)))


def test_a_failure_is_told_in_tensorrts_words_and_once(load, fake_trt):
    predictor = load()
    fake_trt.fails = "Error Code 1: Cuda Runtime (misaligned address)"
    with pytest.raises(DeployError, match=r"running a batch of 2 failed .*misaligned address"):
        predictor.run(noise(2))
    fake_trt.fails = "another reason"
    with pytest.raises(DeployError, match=r"failed \(another reason\)"):
        predictor.run(noise(2))


# ---- step by step


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("profile", [(1, 4, 8), (4, 4, 8)])
def test_a_batch_can_be_timed_step_by_step(load, fake_gpu, graph, profile):
    predictor, images = load(profile), noise(3)
    stages = predictor.stages(images, graph=graph)
    launches = fake_gpu.graph_launches
    for _ in range(3):
        for step in (stages.upload, stages.compute, stages.download):
            step()
    np.testing.assert_array_equal(stages.answer(), first_ten(images))
    assert fake_gpu.graph_launches - launches == (3 if graph else 0)
    assert stages.stream
    stages.close()
    np.testing.assert_array_equal(predictor.run(images), first_ten(images))


def test_a_batch_above_the_profile_has_no_steps(load):
    assert load().stages(noise(9), graph=False) is None


def test_steps_that_fail_to_be_made_leave_nothing(load, fake_trt):
    predictor = load()
    fake_trt.fails = "some reason"
    with pytest.raises(DeployError, match="some reason"):
        predictor.stages(noise(2), graph=True)
    predictor.close()


# ---- TensorRT-RTX


def test_rtx_compiles_for_each_shape_before_it_runs(load, fake_gpu, fake_trt, monkeypatch):
    """A graph would keep the general kernels that it begins with by default."""
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_tensorrt.make(fake_trt, "1.7", rtx=True))
    predictor = load(engine="tensorrt-rtx", engine_version="1.7")
    np.testing.assert_array_equal(predictor.run(noise(2)), first_ten(noise(2)))
    (config,) = fake_trt.configs
    assert config.dynamic_shapes_kernel_specialization_strategy == "eager"
    assert (config.memory, config.cache) == ("user", "a cache")
