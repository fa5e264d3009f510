"""torchscript and torch-compile: PyTorch's own ways and errors stop at these backends."""

import dataclasses
import gc
import importlib
import io
import os
import pickle
import sys
import tempfile
import threading
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from artifact_files import edit_manifest, make_manifest, replace_file, write_artifact
from numpy.lib.stride_tricks import as_strided
from samples import first_ten, noise

import lenet_runtime
from lenet_runtime.artifact import Artifact, FileEntry, Requirements
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeployError, ParityError

torch = pytest.importorskip("torch")

from lenet_runtime.backends.torch import torch_compile, torchscript  # noqa: E402  after the skip
from lenet_runtime.backends.torch.core import TorchPredictor  # noqa: E402

MODULES = ("core", "torchscript", "torch_compile")
HERE = str(torch.__version__)


@pytest.fixture
def without_torch(monkeypatch):
    """A machine where `import torch` fails, and our modules that need it are not yet imported."""

    def forget():
        for name in MODULES:
            monkeypatch.delitem(sys.modules, f"lenet_runtime.backends.torch.{name}", raising=False)

    forget()
    monkeypatch.setitem(sys.modules, "torch", None)
    return forget


@pytest.mark.parametrize("backend", ["torchscript", "torch-compile"])
def test_pytorch_that_is_missing_is_unavailable(without_torch, backend):
    for _ in range(2):  # a failed import must not leave half a module behind
        with pytest.raises(
            BackendUnavailable, match=r"pip install 'lenet-deploy\[export\]'"
        ) as caught:
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
    assert seen == [1, 3, before]


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


class Payload:
    """Leaves a file behind where somebody unpickles it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(f"model/{name.replace('__', '.')}", data)
    return buffer.getvalue()


def test_a_pickled_module_is_refused_and_not_run(tmp_path):
    """Also with trust: what was vouched for is TorchScript, not any pickle."""
    marker = tmp_path / "was-run"
    buffer = io.BytesIO()
    torch.save(Payload(marker), buffer)
    for data in (buffer.getvalue(), pickle.dumps(Payload(marker))):
        folder = write_artifact(tmp_path / f"{len(data)}", format="torchscript")
        (folder / "model.pt").touch()
        replace_file(folder, "model.pt", data)
        with pytest.raises(ArtifactError, match=r"model\.pt: PyTorch .* cannot load it"):
            lenet_runtime.load(folder, trust=True)
        assert not marker.exists()


def damaged(data):
    """Faults of a TorchScript archive, each under a manifest that vouches for it."""
    half = len(data) // 2
    return {
        "empty": b"",
        "garbage": bytes(range(256)) * 16,
        "truncated": data[:half],
        "less a byte": data[:-1],
        "an empty archive": archive(),
        "a version and no more": archive(version=b"10\n"),
        "code that is not UTF-8": data.replace(b"def forward", b"d\xdcf forward"),
        "code cut out": data.replace(b"def forward", b"def backward"),
    }


@pytest.mark.parametrize("fault", list(damaged(b"")))
def test_a_damaged_archive_is_an_artifact_error(torchscript_artifact, copy_of, fault):
    folder = copy_of(torchscript_artifact)
    data = damaged((folder / "model.pt").read_bytes())[fault]
    with pytest.raises(ArtifactError, match=r"model\.pt"):
        lenet_runtime.load(replace_file(folder, "model.pt", data), trust=True)


def scripted(module):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(module, torch.zeros(2, 1, 32, 32)), buffer)
    return buffer.getvalue()


class Pair(torch.nn.Module):
    def forward(self, images):
        return images, images


class Small(torch.nn.Module):
    def forward(self, images):
        return images.reshape(-1, 4)


@pytest.mark.parametrize(
    ("module", "error"),
    [(Pair(), DeployError), (Small(), ParityError), (torch.nn.Linear(32, 10), ParityError)],
)
def test_a_module_of_another_kind_is_not_loaded(torchscript_artifact, copy_of, module, error):
    folder = replace_file(copy_of(torchscript_artifact), "model.pt", scripted(module.eval()))
    with pytest.raises(error):
        lenet_runtime.load(folder, trust=True)


def test_other_weights_fail_the_self_test(torchscript_artifact, copy_of):
    from lenet_deploy.training.model import Net

    folder = replace_file(copy_of(torchscript_artifact), "model.pt", scripted(Net().eval()))
    with pytest.raises(ParityError, match="torchscript failed the self-test"):
        lenet_runtime.load(folder, trust=True)


def test_loading_warns_of_nothing(torchscript_artifact, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lenet_runtime.load(torchscript_artifact.path).close()
    assert capfd.readouterr() == ("", "")


def package(tmp_path, version, name="model-from-1.pt2"):
    """An artifact of torch-compile whose package is garbage."""
    needs = Requirements("cpu", "torch", version)
    folder = write_artifact(tmp_path / "artifact", format="torch-compile", requirements=needs)
    (folder / name).touch()
    return replace_file(folder, name, b"garbage")


@pytest.mark.parametrize(
    "version", ["1.13.1", "2", "", "3.0.0", f"{HERE.split('.', maxsplit=1)[0]}.999.0"]
)
def test_a_package_of_another_release_is_not_opened(tmp_path, version):
    """Its code calls into libtorch, which has no stable interface."""
    with pytest.raises(
        BackendUnavailable, match=r"compiled with PyTorch .* export it again on this"
    ):
        lenet_runtime.load(package(tmp_path, version), trust=True)


def test_a_package_of_another_build_of_the_release_is_opened(tmp_path):
    major, minor = HERE.split(".")[:2]
    with pytest.raises(ArtifactError, match=r"model-from-1\.pt2: PyTorch cannot load it"):
        lenet_runtime.load(package(tmp_path, f"{major}.{minor}.77+cu999"), trust=True)


@pytest.mark.parametrize(
    "name",
    ["model.pt2", "model-from-2.pt2", "model-from-0.pt2", "model-from-01.pt2", "model-from-1.pt2x"],
)
def test_packages_that_leave_one_image_unserved_are_refused(tmp_path, name):
    """`model.pt2` is what an older version wrote."""
    with pytest.raises(ArtifactError, match=r"no file 'model-from-1\.pt2' but .*export it again"):
        lenet_runtime.load(package(tmp_path, HERE, name), trust=True)


@pytest.mark.parametrize("static", [None, 2])
def test_each_batch_goes_to_the_package_that_serves_it(tmp_path, monkeypatch, static):
    """Packages in no order of the manifest's, and one more digit than the others."""
    starts = (2,) if static else (10, 1, 2)
    files = {f"model-from-{start}.pt2": FileEntry("0" * 64, 0) for start in starts}
    folder = write_artifact(tmp_path / "artifact", static, format="torch-compile")
    manifest = dataclasses.replace(Artifact.open(folder).manifest, files=files)
    artifact = Artifact(folder, manifest, "")
    asked = []
    monkeypatch.setattr(
        torch_compile,
        "_package",
        lambda _, name, device: lambda images: asked.append(name) or [first_ten(images[0])],
    )
    assert torch_compile.starts(artifact) == tuple(sorted(starts))
    predictor = torch_compile.load(artifact, "cpu", None)
    for size in (2,) if static else (1, 2, 9, 10, 11):
        predictor.run(noise(size))
    assert [int(name.split("-")[2].split(".")[0]) for name in asked] == (
        [2] if static else [1, 2, 2, 10, 10]
    )


def test_a_package_that_is_garbage_leaves_nothing_behind(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with pytest.raises(ArtifactError):
        lenet_runtime.load(package(tmp_path, HERE), trust=True)
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_a_package_on_a_gpu_can_be_captured_in_a_graph(tmp_path, monkeypatch, device):
    """The loader's locks query an event, which CUDA refuses while a graph is captured."""
    asked = []
    fake = type("Loader", (), {"__init__": lambda self, *given: asked.append(given), "run": None})
    monkeypatch.setattr(torch._C._aoti, "AOTIModelPackageLoader", fake)
    torch_compile._package(Artifact.open(package(tmp_path, HERE)), "model-from-1.pt2", device)
    (given,) = asked
    assert given[1:] == (("model", False, 1, -1) if device == "cpu" else ("model", True, 1, 1))


@pytest.mark.slow
def test_a_package_leaves_nothing_behind_once_closed(torch_compile_artifact, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with lenet_runtime.load(torch_compile_artifact.path) as session:
        session.run(noise(3))
    gc.collect()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_package_for_another_cpu_is_not_opened(torch_compile_artifact, copy_of, monkeypatch):
    monkeypatch.setattr(torch_compile, "load", lambda *arguments: pytest.fail("was opened"))
    folder = copy_of(torch_compile_artifact)
    edit_manifest(folder, lambda d: d["requirements"]["cpu_isa"].append("avx1024"))
    with pytest.raises(BackendUnavailable, match=r"lacks: \['avx1024'\]"):
        lenet_runtime.load(folder, trust=True)


@pytest.mark.parametrize("load", [torchscript.load, torch_compile.load])
def test_a_model_that_is_not_listed_is_an_artifact_error(tmp_path, load):
    needs = Requirements("cpu", "torch", HERE)
    folder = write_artifact(tmp_path / "artifact", requirements=needs)
    with pytest.raises(ArtifactError, match="lists no file"):
        load(Artifact.open(folder), "cpu", None)
    assert make_manifest().runs_code
