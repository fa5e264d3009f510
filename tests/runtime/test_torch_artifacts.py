"""Artifacts of torchscript and torch-compile: what is damaged, foreign or not of this machine."""

import dataclasses
import gc
import io
import pickle
import tempfile
import warnings
import zipfile

import pytest
from artifact_files import edit_manifest, make_manifest, replace_file, write_artifact
from samples import Payload, first_ten, noise

import lenet_runtime
from lenet_runtime.artifact import Artifact, FileEntry, Requirements
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeployError, ParityError

torch = pytest.importorskip("torch")

from lenet_runtime.backends.torch import torch_compile, torchscript  # noqa: E402  after the skip

HERE = str(torch.__version__)


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
    whole = Artifact.open(folder)
    manifest = dataclasses.replace(whole.manifest, files=files)
    artifact = dataclasses.replace(whole, manifest=manifest)
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
