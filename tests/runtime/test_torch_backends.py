"""torchscript and torch-compile: PyTorch's own ways and errors stop at these backends."""

import importlib
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from artifact_files import write_artifact
from numpy.lib.stride_tricks import as_strided
from samples import first_ten, noise

import lenet_runtime
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import BackendUnavailable, DeployError

torch = pytest.importorskip("torch")

from lenet_runtime.backends.torch.core import TorchPredictor  # noqa: E402

MODULES = ("", ".core", ".torchscript", ".torch_compile")
HERE = str(torch.__version__)


@pytest.fixture
def without_torch(monkeypatch):
    """A machine where `import torch` fails, and our modules that need it are not yet imported."""

    for name in MODULES:
        monkeypatch.delitem(sys.modules, f"lenet_runtime.backends.torch{name}", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)


@pytest.mark.parametrize("backend", ["torchscript", "torch-compile"])
def test_pytorch_that_is_missing_is_unavailable(without_torch, backend):
    for _ in range(2):  # a failed import must not leave half a module behind
        with pytest.raises(BackendUnavailable, match=r"pip install .*\[export\]'") as caught:
            BACKENDS[backend].probe("cpu")
        assert isinstance(caught.value.__cause__, ImportError)


def test_an_artifact_without_pytorch_says_what_to_install(without_torch, tmp_path):
    folder = write_artifact(tmp_path / "artifact", format="torchscript")
    with pytest.raises(BackendUnavailable, match=r"torchscript: PyTorch cannot be imported"):
        lenet_runtime.load(folder, trust=True)


def test_pytorch_whose_libraries_are_missing_is_unavailable(without_torch, monkeypatch, tmp_path):
    """It raises OSError then, from the dynamic linker."""
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise OSError('libcudart.so.12: cannot open')")
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendUnavailable, match=r"libcudart\.so\.12"):
        BACKENDS["torchscript"].probe("cpu")


@pytest.mark.parametrize("backend", ["torchscript", "torch-compile"])
def test_its_version_is_told(backend):
    assert BACKENDS[backend].probe("cpu") == HERE
    assert importlib.import_module(BACKENDS[backend].module)


def test_a_predictor_gives_numpy_arrays():
    logits = TorchPredictor("test", first_ten, None).run(noise(3))
    assert type(logits) is np.ndarray
    np.testing.assert_array_equal(logits, first_ten(noise(3)))


def test_gradients_are_off():
    seen = []
    TorchPredictor("test", lambda x: seen.append(torch.is_inference_mode_enabled()) or x, None).run(
        noise(1)
    )
    assert seen == [True]
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    "images",
    [
        noise(3)[1:0:-1],
        noise(3)[:, ::-1],
        as_strided(noise(1), (1, 1, 32, 32), (7, 3, 128, 4)),
        np.frombuffer(noise(2).tobytes(), np.float32).reshape(2, 1, 32, 32),
    ],
    ids=["one in reverse", "the channel in reverse", "odd strides", "read-only"],
)
def test_what_numpy_calls_contiguous_is_taken_without_a_warning(images):
    assert images.flags.c_contiguous
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = TorchPredictor("test", first_ten, None).run(images)
    np.testing.assert_array_equal(found, first_ten(images))


def test_a_plain_array_is_not_copied():
    images, seen = noise(1), []
    TorchPredictor("test", lambda x: seen.append(x.data_ptr()) or first_ten(x), None).run(images)
    assert seen == [images.ctypes.data]


def test_pytorchs_error_is_translated():
    def fail(images):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(DeployError, match=r"test failed on \(2, 1, 32, 32\): mat1") as caught:
        TorchPredictor("test", fail, None).run(noise(2))
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("answer", [None, (torch.zeros(1, 10),), [torch.zeros(1, 10)], 1.0])
def test_an_answer_that_is_no_tensor_is_an_error(answer):
    with pytest.raises(DeployError, match="expected a tensor"):
        TorchPredictor("test", lambda images: answer, None).run(noise(1))


def test_a_closed_predictor_says_so():
    predictor = TorchPredictor("test", first_ten, None)
    predictor.close()
    predictor.close()
    with pytest.raises(DeployError, match="closed"):
        predictor.run(noise(1))


@pytest.mark.parametrize("fails", [False, True])
def test_threads_are_set_for_the_call_and_given_back(fails):
    seen, before = [], torch.get_num_threads()

    def forward(images):
        seen.append(torch.get_num_threads())
        if fails:
            raise RuntimeError("failed")
        return first_ten(images)

    for threads in (1, 3, None):
        predictor = TorchPredictor("test", forward, threads)
        try:
            predictor.run(noise(1))
        except DeployError:
            assert fails
        assert torch.get_num_threads() == before
    assert seen == [1, 3, 1]


def test_two_sessions_keep_their_own_threads():
    """Two callers at the same time, each within its own setting."""
    meet = threading.Barrier(2, timeout=30)

    def ask(threads):
        seen = []

        def forward(images):
            meet.wait()
            seen.append(torch.get_num_threads())
            meet.wait()
            return first_ten(images)

        TorchPredictor("test", forward, threads).run(noise(1))
        return seen

    before = torch.get_num_threads()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, (1, 3))) == [[1], [3]]
    assert torch.get_num_threads() == before
