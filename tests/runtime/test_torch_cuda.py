"""PyTorch on a GPU, as far as a machine without one can tell: the CPU stands in for the device."""

import contextlib

import numpy as np
import pytest
import torch
from samples import first_ten, noise

from lenet_runtime.backends.torch import torch_cuda, torchscript
from lenet_runtime.backends.torch.core import predictor
from lenet_runtime.errors import BackendUnavailable, DeployError, DeviceMemoryError

IMAGES = noise(3)


def switches():
    return (
        torch.backends.cudnn.conv.fp32_precision,
        torch.backends.cuda.matmul.fp32_precision,
    )


@pytest.fixture
def cpu_as_gpu(monkeypatch):
    """`torch.cuda` does nothing, and the device ``cuda:0`` is the CPU."""
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    real = torch.device
    monkeypatch.setattr(torch_cuda.torch, "device", lambda name: real("cpu"))
    emptied = []
    return emptied


def test_answers_come_back_to_the_host(cpu_as_gpu):
    engine = predictor("eager", first_ten, "cuda:0", None, "fp32")
    logits = engine.run(IMAGES)
    assert logits.dtype == np.float32
    assert np.array_equal(logits, first_ten(IMAGES))


def test_the_callers_images_are_not_the_engines_memory(cpu_as_gpu):
    def scribble(images):
        images.zero_()
        return first_ten(images)

    given = IMAGES.copy()
    predictor("eager", scribble, "cuda:0", None, "fp32").run(given)
    assert np.array_equal(given, IMAGES)


@pytest.mark.parametrize(("precision", "expected"), [("fp32", "ieee"), ("tf32", "tf32")])
def test_tf32_is_used_where_it_was_asked_for_and_nowhere_else(cpu_as_gpu, precision, expected):
    seen = []

    def forward(images):
        seen.append(switches())
        return first_ten(images)

    before = switches()
    predictor("eager", forward, "cuda:0", None, precision).run(IMAGES)
    assert seen == [(expected, expected)]
    assert switches() == before


def test_the_callers_switches_come_back_after_a_failure(cpu_as_gpu):
    def fail(images):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    before = switches()
    with pytest.raises(DeployError, match=r"eager failed on \(3, 1, 32, 32\).*illegal memory"):
        predictor("eager", fail, "cuda:0", None, "tf32").run(IMAGES)
    assert switches() == before


def test_too_little_memory_is_typed_and_the_session_works_on(cpu_as_gpu):
    def forward(images):
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return first_ten(images)

    engine = predictor("eager", forward, "cuda:0", None, "fp32")
    with pytest.raises(DeviceMemoryError, match=r"too little free memory.*use smaller batches"):
        engine.run(IMAGES)
    assert cpu_as_gpu == [True]
    assert len(engine.run(IMAGES[:2])) == 2


def test_a_closed_one_says_so(cpu_as_gpu):
    engine = predictor("eager", first_ten, "cuda:0", None, "fp32")
    engine.close()
    for call in (lambda: engine.run(IMAGES), lambda: engine.stages(IMAGES, graph=False)):
        with pytest.raises(DeployError, match="closed"):
            call()


@pytest.mark.parametrize("length", [0, TypeError("Net does not support len()")])
def test_an_engine_is_never_asked_for_its_truth(cpu_as_gpu, length):
    """What `torch.compile` makes of a module has `__len__`, which raises if the module has none."""

    class Compiled:
        def __call__(self, images):
            return first_ten(images)

        def __len__(self):
            if isinstance(length, Exception):
                raise length
            return length

    engine = predictor("torch.compile", Compiled(), "cuda:0", None, "fp32")
    assert np.array_equal(engine.run(IMAGES), first_ten(IMAGES))


def test_a_cpu_has_no_tf32():
    with pytest.raises(BackendUnavailable, match="TF32 is a GPU's arithmetic"):
        predictor("torchscript", first_ten, "cpu", None, "tf32")


def test_a_missing_driver_is_the_reason(no_cuda):
    with pytest.raises(BackendUnavailable, match="no NVIDIA driver"):
        torchscript.probe("cuda")


def test_a_build_without_cuda_is_the_reason(monkeypatch, fake_cuda):
    fake_cuda()
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(BackendUnavailable, match="built without CUDA"):
        torchscript.probe("cuda:0")


def test_a_gpu_that_pytorch_cannot_use_is_the_reason(monkeypatch, fake_cuda):
    fake_cuda(devices=2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert torchscript.probe("cuda:0") == str(torch.__version__)
    with pytest.raises(BackendUnavailable, match=r"cannot use Fake GPU 1 with the driver's CUDA"):
        torchscript.probe("cuda:1")


@pytest.mark.gpu
@pytest.mark.parametrize("graph", [False, True])
def test_stages_answer_as_run_does(graph):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 10)).cuda()
    engine = predictor("eager", net, "cuda:0", None, "fp32")
    stages = engine.stages(IMAGES, graph=graph)
    stages.upload()
    stages.compute()
    stages.download()
    assert np.allclose(stages.answer(), engine.run(IMAGES), rtol=1e-5, atol=1e-5)
    stages.close()


def shown(read):
    try:
        return read()
    except RuntimeError:  # the older and the newer disagree
        return "refused"


def all_switches():
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    return (
        [each.fp32_precision for each in (cudnn, cudnn.conv, cudnn.rnn, products, torch.backends)],
        [shown(lambda each=each: each.allow_tf32) for each in (cudnn, products)],
        shown(torch.get_float32_matmul_precision),
    )


@pytest.fixture
def switches_stay():
    """What a test leaves as PyTorch begins."""
    yield
    torch.backends.fp32_precision = torch.backends.cudnn.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True


def set_by_older_names(allow):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allow


def set_for_everything(value):
    set_by_older_names(False)  # so that the newer ones follow
    torch.backends.fp32_precision = value


CALLERS = {
    "untouched": lambda: None,
    "highest": lambda: torch.set_float32_matmul_precision("highest"),
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "older: allowed": lambda: set_by_older_names(True),
    "older: refused": lambda: set_by_older_names(False),
    "newer: tf32 for everything": lambda: set_for_everything("tf32"),
    "newer: ieee for everything": lambda: set_for_everything("ieee"),
    "newer: convolutions alone": lambda: setattr(
        torch.backends.cudnn.conv, "fp32_precision", "ieee"
    ),
    "newer: recurrent layers alone": lambda: setattr(
        torch.backends.cudnn.rnn, "fp32_precision", "ieee"
    ),
    "newer: products": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
}


@pytest.mark.parametrize("caller", CALLERS)
def test_every_name_of_a_switch_agrees_inside_and_comes_back(switches_stay, caller):
    """Inductor and its autotuning read the older names, and PyTorch raises where they differ."""
    CALLERS[caller]()
    before = all_switches()
    for tf32, value in ((False, "ieee"), (True, "tf32")):
        with torch_cuda.precision(tf32):
            cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
            newer = [each.fp32_precision for each in (cudnn, cudnn.conv, cudnn.rnn, products)]
            assert newer == [value] * 4
            assert cudnn.allow_tf32 is products.allow_tf32 is tf32
            if caller not in ("medium", "high", "newer: tf32 for everything"):
                expected = "high" if tf32 else "highest"
                assert torch.get_float32_matmul_precision() == expected
        assert all_switches() == before
    torch.backends.fp32_precision = "ieee"  # what follows it goes on to
    assert torch.backends.cudnn.fp32_precision == "ieee"
