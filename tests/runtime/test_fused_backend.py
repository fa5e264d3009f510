"""The fused-cuda backend on a driver without a GPU, whose kernels are the emulator's."""

import ctypes
import dataclasses
from concurrent.futures import ThreadPoolExecutor

import fused
import numpy as np
import pytest
from samples import digits, noise, raw_digits

import lenet_export
import lenet_runtime
from lenet_export.formats.cuda import compiler, programs
from lenet_runtime.backends.fused import copying, fused_cuda, kernels
from lenet_runtime.errors import (
    ArtifactError,
    BackendUnavailable,
    DeployError,
    DeviceMemoryError,
    InputError,
    ParityError,
)
from lenet_runtime.images.preprocess import Preprocessing

PRECISION = "fp16"
STARTS = (1, 3, 10)  # small, so that tests run all three
MIB = 2**20
LAUNCH_FAILED, NO_BINARY = 719, 209
TYPES = (ctypes.c_ulonglong,) * 3 + (ctypes.c_uint,)


@pytest.fixture(scope="session")
def artifact(net, tmp_path_factory):
    """Of PTX alone, proven by nobody."""
    try:
        compiler.load()
    except BackendUnavailable as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(programs.STARTS, PRECISION, STARTS)
        return lenet_export.export(
            net,
            "cuda",
            tmp_path_factory.mktemp("fused") / "cuda-fp16",
            precision=PRECISION,
            verify=False,
            architectures="compute_80",
        )


@pytest.fixture
def gpu(fake_cuda):
    """`gpu(**options)`: a fake driver that runs the emulated kernels; they must not misbehave."""
    library = fused.kernels(PRECISION).library

    def install(**options):
        driver = fake_cuda(**options)
        for name in fused.NAMES:
            driver.native_kernel(name, library[f"launched_{name}"], TYPES)
        return driver

    yield install
    assert library.emulated_driver_failure() == b""


@pytest.fixture
def driver(gpu):
    return gpu()


def load(artifact):
    return lenet_runtime.load(artifact.path, device="cuda", unproven=True)


def expected(net, images):
    """What any kernel answers."""
    return fused.kernels(PRECISION)("lenet_many", fused.packed(net, PRECISION), images)


def test_it_answers_with_the_kernels_bits(net, artifact, driver):
    images = np.concatenate([digits(12), noise(8)])
    right = expected(net, images)
    with load(artifact) as session:
        assert session.backend == "fused-cuda"
        for size in (1, 2, 3, 9, 10, 20):
            assert np.array_equal(session.run(images[:size]), right[:size]), size


def test_proofs_run_every_program(artifact, driver):
    assert fused_cuda.starts(artifact) == (1, 3, 10)


def test_a_proof_can_be_recorded_and_is_then_asked_for_no_more(
    net, artifact, driver, copy_of, monkeypatch
):
    # The proof goes beyond both, and the emulated kernels take 20 ms an image.
    monkeypatch.setattr(kernels, "GRAPHED", 8)
    monkeypatch.setattr(kernels, "PIECE", 16)
    copy = copy_of(artifact)
    with lenet_runtime.load(copy, device="cuda", unproven=True, trust=True) as session:
        proof = lenet_export.verify(session, net, batch_sizes=(1, 4))
    proven = lenet_export.record(lenet_runtime.Artifact.open(copy), proof)
    assert proven.manifest.parity.ok
    with lenet_runtime.load(copy, device="cuda") as session:
        assert session.run(noise(1)).shape == (1, 10)


def test_graphs_are_captured_once_for_each_power_of_two(artifact, driver):
    with load(artifact) as session:
        captured = driver.captures
        session.run(noise(5))
        session.run(noise(7))
        session.run(noise(8))
        assert driver.captures == captured
        session.run(noise(17))
        assert driver.captures == captured + 1
        before = driver.graph_launches
        session.run(noise(18))
        assert (driver.captures, driver.graph_launches) == (captured + 1, before + 1)


def test_raw_digits_are_prepared_on_the_gpu(net, artifact, driver, monkeypatch):
    pixels = raw_digits(11)
    right = expected(net, digits(11))
    with load(artifact) as session:
        monkeypatch.setattr("lenet_runtime.session.normalise", None)  # would be called, and fail
        for size in (1, 4, 11):
            found = session.predict(pixels[:size])
            assert np.array_equal(found.labels, right[:size].argmax(axis=1))
        strided = np.asfortranarray(pixels)
        assert np.array_equal(session.predictor.run_pixels(pixels), right)
        assert np.array_equal(session.predict(strided).labels, right.argmax(axis=1))


def test_a_kernel_that_answers_raw_digits_otherwise_is_not_loaded(artifact, driver, monkeypatch):
    right = fused_cuda.FusedCuda._run

    def wrong(self, images):
        return right(self, images) + (images.dtype == np.uint8 and len(images) >= STARTS[1])

    monkeypatch.setattr(fused_cuda.FusedCuda, "_run", wrong)
    with pytest.raises(ParityError, match=r"raw digits otherwise .* in a batch of 8"):
        load(artifact)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 32, 32), np.uint8),
        np.zeros((2, 28, 28), np.float32),
        np.zeros((0, 28, 28), np.uint8),
    ],
)
def test_other_pictures_go_the_common_way(artifact, driver, pixels):
    with load(artifact) as session:
        session.predictor.run_pixels = None
        assert len(session.predict(pixels)) == len(pixels)


def test_another_padding_goes_the_common_way(net, artifact, driver):
    other = dataclasses.replace(artifact.manifest, preprocessing=Preprocessing(padding=3))
    with load(dataclasses.replace(artifact)) as session:
        assert session.predictor.run_pixels is not None
    context = fused_cuda.cuda.Context(0)
    engine = fused_cuda.FusedCuda(dataclasses.replace(artifact, manifest=other), context)
    assert engine.run_pixels is None
    engine.close()


def test_large_batches_go_in_pieces_on_two_lanes(net, artifact, driver, monkeypatch):
    monkeypatch.setattr(kernels, "GRAPHED", 2)
    monkeypatch.setattr(kernels, "PIECE", 4)
    images = np.concatenate([digits(10), noise(9)])
    right = expected(net, images)
    with load(artifact) as session:
        before = driver.graph_launches
        for size in (3, 4, 5, 8, 9, 13, 19):
            assert np.array_equal(session.run(images[:size]), right[:size]), size
        assert driver.graph_launches == before
        assert [session.predictor.uses_graph(size) for size in (2, 3)] == [True, False]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_found_in_every_piece(
    net, artifact, driver, monkeypatch, bad, threads
):
    monkeypatch.setattr(kernels, "GRAPHED", 2)
    monkeypatch.setattr(kernels, "PIECE", 8)
    monkeypatch.setattr(copying, "LEAST", 2)
    images = noise(20)
    right, out = expected(net, images), np.full((20, 10), 7, np.float32)
    with lenet_runtime.load(
        artifact.path, device="cuda", unproven=True, threads=threads
    ) as session:
        assert np.array_equal(session.run(images), right)
        live = driver.live
        for row in (0, 7, 8, 19):
            spoilt = images.copy()
            spoilt[row, 0, 31, 31] = bad
            with pytest.raises(InputError, match=rf"found 1 that .* at \({row}, 0, 31, 31\)"):
                session.run(spoilt, out)
            assert (out == 7).all()
        assert driver.live == live  # the lanes are kept
        assert np.array_equal(session.run(images), right)


def test_threads_do_not_meet(net, artifact, driver):
    images = noise(32)
    right = expected(net, images)
    with load(artifact) as session, ThreadPoolExecutor(4) as pool:

        def work(first):
            for size in (1, 3, 2, 10):
                part = slice(first, first + size)
                assert np.array_equal(session.run(images[part]), right[part]), (first, size)

        list(pool.map(work, range(0, 16, 4)))


@pytest.mark.parametrize("size", [2, 9])
def test_closing_waits_for_every_piece_of_a_batch(net, artifact, driver, monkeypatch, size):
    monkeypatch.setattr(kernels, "GRAPHED", 2)
    monkeypatch.setattr(kernels, "PIECE", 4)
    images, predictor, begin = noise(size), load(artifact).predictor, kernels.KernelLane.begin

    def close_and_begin(lane, piece):
        predictor.close()
        assert driver.live > 0
        return begin(lane, piece)

    monkeypatch.setattr(kernels.KernelLane, "begin", close_and_begin)
    assert np.array_equal(predictor.run(images), expected(net, images))
    assert driver.live == 0


def test_without_memory_for_a_batch_smaller_ones_still_run(net, artifact, gpu):
    driver = gpu(memory=12 * MIB)
    images = noise(2)
    with load(artifact) as session:
        before = driver.used
        with pytest.raises(DeviceMemoryError, match="smaller batches"):
            session.run(np.zeros((2000, 1, 32, 32), np.float32))
        assert driver.used == before
        assert np.array_equal(session.run(images), expected(net, images))


def test_a_context_that_is_refused_is_ours_and_leaves_no_trace(artifact, driver):
    driver.fail("cuCtxPushCurrent_v2", LAUNCH_FAILED)
    with pytest.raises(DeployError, match="using GPU 0"):
        load(artifact)
    assert driver.live == 0


@pytest.mark.parametrize("function", ["cuModuleLoadData", "cuModuleGetFunction"])
def test_refused_kernels_are_an_artifact_error(artifact, driver, function):
    driver.fail(function, NO_BINARY)
    with pytest.raises(ArtifactError, match="export it again"):
        load(artifact)
    assert driver.live == 0


def test_too_little_shared_memory_is_said(artifact, gpu):
    driver = gpu(shared=48 * 1024)
    with pytest.raises(ArtifactError, match="shared memory"):
        load(artifact)
    assert driver.live == 0


def test_old_gpus_are_refused(artifact, gpu):
    gpu(capability=(7, 5))
    with pytest.raises(BackendUnavailable, match=r"8\.0 or later.*7\.5"):
        load(artifact)


def test_newer_gpus_get_ptx(artifact, gpu):
    gpu(capability=(13, 0))
    with load(artifact) as session:
        assert session.run(noise(1)).shape == (1, 10)


@pytest.mark.parametrize("graph", [False, True])
def test_stages_are_the_batch_in_steps(net, artifact, driver, graph):
    images = noise(12)
    with load(artifact) as session:
        captures = driver.captures
        stages = session.predictor.stages(images, graph=graph)
        assert driver.captures == captures + graph
        assert isinstance(stages.stream, int)
        stages.upload()
        for _ in range(2):
            stages.compute()
        stages.download()
        assert np.array_equal(stages.answer(), expected(net, images))
        used = driver.used
        stages.close()
        assert driver.used < used
    stages.close()
