"""The certificate of `verify`: the proof, the artifact it is of, and nothing from elsewhere."""

import dataclasses
import re

import pytest
from cli_helper import run

import lenet_export
import lenet_runtime
from lenet_deploy.cli.verify_page import write_page
from lenet_runtime.artifact import Artifact
from lenet_runtime.errors import ArtifactError

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def report(net, onnx_artifact):
    with lenet_runtime.load(onnx_artifact.path) as session:
        return lenet_export.verify(session, net, batch_sizes=[1, 2])


def page_of(report, artifact, tmp_path):
    write_page(report, artifact, tmp_path / "a.html", backend="ort-cpu", device="cpu")
    return (tmp_path / "a.html").read_text()


def failed(report):
    """The same report, whose first comparison failed."""
    first, *others = report.parity.comparisons
    first = dataclasses.replace(first, reason=f"too far off {SCRIPT}")
    parity = dataclasses.replace(report.parity, comparisons=(first, *others))
    return dataclasses.replace(report, parity=parity)


def test_it_names_the_artifact_its_files_and_weights_by_their_digests(
    report, onnx_artifact, tmp_path
):
    page = page_of(report, onnx_artifact, tmp_path)
    assert f"<h1>{onnx_artifact.path.name} answers as eager PyTorch does</h1>" in page
    manifest = onnx_artifact.manifest
    digests = [onnx_artifact.digest, manifest.weights_sha256]
    for digest in (*digests, *(entry.sha256 for entry in manifest.files.values())):
        assert f">{digest}</code>" in page


def test_every_comparison_has_a_row(report, onnx_artifact, tmp_path):
    page = page_of(report, onnx_artifact, tmp_path)
    rows = re.findall('<td class="name">(.*?)</td>', page)
    expected = [c.inputs for c in report.parity.comparisons] + [report.data_set.name]
    expected += [change.change for change in report.invariance]
    assert rows == [*expected, *onnx_artifact.manifest.files]
    compared = len(report.parity.comparisons) + 1 + len(report.invariance)
    assert f'class="alert good" role="note">Parity holds: all {compared} comparisons' in page


def test_a_failure_is_not_certified(report, onnx_artifact, tmp_path):
    page = page_of(failed(report), onnx_artifact, tmp_path)
    assert "does not answer as eager PyTorch does</h1>" in page
    assert '<p class="alert" role="note">Parity fails.' in page
    assert "Parity holds" not in page
    assert "too far off &lt;script&gt;" in page
    assert page.count('<tr class="slower">') == 1


def test_it_loads_nothing_and_runs_nothing(report, onnx_artifact, tmp_path):
    page = page_of(report, onnx_artifact, tmp_path)
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|link|img|iframe)\b|\ssrc=|https?://", page)


def test_foreign_names_stay_text(report, onnx_artifact, tmp_path):
    manifest = dataclasses.replace(onnx_artifact.manifest, tools={SCRIPT: SCRIPT})
    data_set = dataclasses.replace(report.data_set, name=SCRIPT)
    artifact = dataclasses.replace(onnx_artifact, manifest=manifest)
    page = page_of(dataclasses.replace(report, data_set=data_set), artifact, tmp_path)
    assert page.count("alert(1)") >= 3
    assert "<script" not in page


def test_a_folder_that_is_missing_is_named(report, onnx_artifact, tmp_path):
    with pytest.raises(ArtifactError, match="nowhere"):
        page_of(report, onnx_artifact, tmp_path / "nowhere")


def test_the_command_writes_it(onnx_artifact, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LENET_DEPLOY_DATA_DIR", raising=False)
    page = tmp_path / "a.html"
    done = run("verify", onnx_artifact.path, "--batch-sizes", "1", "--html", page)
    assert "wrote" in done.stderr
    assert "parity holds" in done.stdout
    assert f">{Artifact.open(onnx_artifact.path).digest}</code>" in page.read_text()


def test_a_plan_of_several_artifacts_has_none(tmp_path):
    done = run("verify", tmp_path, "--backend", "fastest", "--html", tmp_path / "a.html", code=2)
    assert "--html: a plan runs several artifacts" in done.stderr
    assert not (tmp_path / "a.html").exists()
