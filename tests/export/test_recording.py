"""An artifact that was exported where nothing could prove it, and the proof that follows."""

import dataclasses
import json
import sys

import fake_engine
import pytest
import torch
from artifact_files import edit_manifest
from cli_helper import run

import lenet_export
import lenet_runtime
from lenet_deploy.cli.export import _all_formats
from lenet_export.formats import BUILDERS
from lenet_export.request import Build
from lenet_runtime.artifact import Requirements, trust
from lenet_runtime.backends import BACKENDS
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.errors import ArtifactError, BackendUnavailable, InputError, ParityError
from lenet_runtime.formats import FORMATS, Format

CUDA = "gpu-only"
WORDS = ("--device", "cuda", "--trust", "--batch-sizes", "2")


@pytest.fixture(autouse=True)
def bundled_digits(monkeypatch):
    """Without MNIST the bundled digits serve, which are fewer."""
    monkeypatch.delenv("LENET_DEPLOY_DATA_DIR", raising=False)


class TorchPredictor(Predictor):
    """The network itself, or another one."""

    net = None

    def run(self, images):
        with torch.inference_mode():
            return self.net(torch.tensor(images)).numpy()

    def close(self):
        pass


@pytest.fixture
def gpu_format(monkeypatch, net):
    """A format whose only backend runs on GPUs; `present` says whether there is one."""

    class Engine:
        present = False

        @classmethod
        def probe(cls, device):
            if not cls.present:
                raise BackendUnavailable("there is no GPU")
            return "1.0"

        starts = staticmethod(lambda artifact: (1, 5))
        load = staticmethod(lambda artifact, device, threads: TorchPredictor())

    class Builder:
        @staticmethod
        def build(request):
            assert str(request.device) == "cuda:0"
            return Build({"model.gpu": b"kernels"}, Requirements("cuda", "fake", "1"), {})

    TorchPredictor.net = net
    backend = dataclasses.replace(
        fake_engine.BACKEND, module="gpu_engine", format=CUDA, devices=("cuda",), cut=False
    )
    monkeypatch.setitem(BACKENDS, CUDA, backend)
    monkeypatch.setitem(FORMATS, CUDA, Format(CUDA, ("model.gpu",), {"fp32": ("cuda",)}))
    monkeypatch.setitem(BUILDERS, CUDA, "gpu_builder")
    monkeypatch.setitem(sys.modules, "gpu_engine", Engine)
    monkeypatch.setitem(sys.modules, "gpu_builder", Builder)
    return Engine


@pytest.fixture
def unproven(gpu_format, net, tmp_path):
    return lenet_export.export(net, CUDA, tmp_path / "artifact", verify=False)


def test_without_the_gpu_nothing_is_built_unless_it_may_be_unproven(gpu_format, net, tmp_path):
    with pytest.raises(BackendUnavailable, match="there is no GPU"):
        lenet_export.export(net, CUDA, tmp_path / "artifact")
    assert list(tmp_path.iterdir()) == []


def test_an_unproven_artifact_says_so_and_does_not_load(gpu_format, unproven):
    assert unproven.manifest.parity.comparisons == ()
    gpu_format.present = True
    with pytest.raises(ArtifactError, match=r"verify .* --device cuda:0 --trust --record"):
        lenet_runtime.load(unproven.path, device="cuda")


def test_a_recorded_proof_makes_it_load_and_changes_nothing_else(gpu_format, unproven, net):
    gpu_format.present = True
    with lenet_runtime.load(unproven.path, device="cuda", unproven=True) as session:
        assert session.device == "cuda:0"
        report = lenet_export.verify(session, net, batch_sizes=(1, 3))
        proven = lenet_export.record(session.artifact, report)
    assert proven.manifest == dataclasses.replace(unproven.manifest, parity=report.parity)
    assert proven.read("model.gpu") == b"kernels"
    with lenet_runtime.load(unproven.path, device="cuda") as session:
        assert session.artifact.digest == proven.digest


def test_a_failed_proof_is_not_recorded(gpu_format, unproven, net, monkeypatch):
    gpu_format.present = True
    with lenet_runtime.load(unproven.path, device="cuda", unproven=True) as session:
        monkeypatch.setattr(TorchPredictor, "net", lambda self, images: net(images) * 1.5)
        report = lenet_export.verify(session, net, batch_sizes=(1, 3))
        with pytest.raises(ParityError, match="differs from eager"):
            lenet_export.record(session.artifact, report)
    assert lenet_runtime.Artifact.open(unproven.path).digest == unproven.digest


def test_the_command_line_proves_and_records(gpu_format, unproven):
    gpu_format.present = True
    words = ("verify", unproven.path, *WORDS)
    run(*words, code=1)  # not proven, and not to be recorded
    done = run(*words, "--record")
    assert "which loads from now on" in done.stderr
    sizes = {
        c.batch_size for c in lenet_runtime.Artifact.open(unproven.path).manifest.parity.comparisons
    }
    assert sizes == {2, 4, 5}  # on both sides of where the engine changes its program
    run(*words)


def test_what_can_be_proven_anywhere_is_not_published_without(net, tmp_path):
    with pytest.raises(InputError, match="'onnx' artifacts in fp32 can be proven on any machine"):
        lenet_export.export(net, "onnx", tmp_path / "artifact", verify=False)
    run("export", "--no-verify", "--output", tmp_path / "a", code=2)
    assert list(tmp_path.iterdir()) == []


def test_tf32_is_a_gpus_arithmetic(net, tmp_path):
    with pytest.raises(InputError, match=r"artifacts in tf32 run on cuda, found 'cpu'"):
        lenet_export.export(net, "torchscript", tmp_path / "a", precision="tf32", device="cpu")
    with pytest.raises(InputError, match=r"'native' can be exported in"):
        lenet_export.export(net, "native", tmp_path / "a", precision="tf32")
    made = lenet_export.export(net, "torchscript", tmp_path / "a", precision="tf32", verify=False)
    assert made.manifest.requirements.device == "cuda"
    assert made.manifest.precision == "tf32"


def test_the_table_of_export_says_what_is_not_proven(tmp_path):
    words = ("export", "-f", "torchscript", "--precision", "tf32", "--no-verify")
    done = run(*words, "--output", tmp_path)
    assert "not proven" in done.stdout
    assert "--record" in done.stderr
    (row,) = json.loads(run(*words, "--output", tmp_path, "--force", "--json").stdout)["artifacts"]
    assert row["proven"] is False
    assert row["max_abs_diff"] is None


def test_recording_keeps_what_was_trusted_trusted(gpu_format, unproven, net, monkeypatch):
    gpu_format.present = True
    monkeypatch.setattr(trust, "_written", set())
    with lenet_runtime.load(unproven.path, device="cuda", trust=True, unproven=True) as session:
        report = lenet_export.verify(session, net, batch_sizes=(1,))
        lenet_export.record(session.artifact, report)
    lenet_runtime.load(unproven.path, device="cuda").close()


def test_all_formats_are_those_of_the_device(gpu_format):
    on_cpu, on_gpu = (_all_formats(device, "fp32", gpu_only=False) for device in (None, "cuda:1"))
    assert {"onnx", "native"} <= set(on_cpu)
    assert CUDA not in on_cpu
    assert {CUDA, "torchscript"} <= set(on_gpu)
    assert "native" not in on_gpu
    assert {CUDA, "cuda", "tensorrt"} == set(_all_formats(None, "fp32", gpu_only=True))


def test_torch_compile_for_a_gpu_needs_one(net, tmp_path, no_cuda):
    with pytest.raises(BackendUnavailable, match="no NVIDIA driver"):
        lenet_export.export(net, "torch-compile", tmp_path / "a", precision="tf32", verify=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["here", "symlink"])
def test_a_proof_is_recorded_whatever_way_leads_there(gpu_format, unproven, monkeypatch, way):
    gpu_format.present = True
    link = unproven.path.with_name("symlink")
    link.symlink_to(unproven.path)
    monkeypatch.chdir(unproven.path)
    run("verify", "." if way == "here" else link, *WORDS, "--record")
    assert lenet_runtime.Artifact.open(unproven.path).manifest.parity.ok
    assert link.is_symlink()
    assert set(unproven.path.parent.iterdir()) == {unproven.path, link}


def test_what_took_the_artifacts_place_meanwhile_stays(gpu_format, unproven, net):
    gpu_format.present = True
    with lenet_runtime.load(unproven.path, device="cuda", unproven=True) as session:
        report = lenet_export.verify(session, net, batch_sizes=(1,))
        edit_manifest(unproven.path, lambda manifest: manifest.update(tools={"by": "another"}))
        with pytest.raises(ArtifactError, match="another artifact took its place"):
            lenet_export.record(session.artifact, report)
    assert lenet_runtime.Artifact.open(unproven.path).manifest.tools == {"by": "another"}


def test_the_proof_of_a_plan_is_that_of_no_artifact(tmp_path):
    done = run("verify", tmp_path, "--backend", "fastest", "--record", code=2)
    assert "--record: a plan runs several artifacts" in done.stderr
