"""What `lenet-deploy export` refuses before it builds: other networks, files in the way."""

import json

import pytest
import torch
from cli_helper import run
from processes import REPOSITORY
from samples import snapshot

from lenet_deploy import Net
from lenet_deploy.training.checkpoint import BUNDLED
from lenet_export.formats import torchscript

QUICK = ("-f", "torchscript", "--batch-sizes", "1")
OURS = REPOSITORY / "lenet_deploy" / "bundled" / BUNDLED


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A checkpoint of other weights, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LENET_DEPLOY_DATA_DIR", raising=False)
    torch.save(Net().state_dict(), "mine.pt")
    return "mine.pt"


@pytest.fixture
def no_build(monkeypatch):
    def build(request):
        raise AssertionError("built, though something is in the way")

    monkeypatch.setattr(torchscript, "build", build)


def test_networks_never_share_a_folder(mine, tmp_path, monkeypatch):
    run("export", *QUICK)
    before = snapshot(tmp_path)
    monkeypatch.setattr(torchscript, "build", None)  # nothing is built
    result = run("export", *QUICK, "--checkpoint", mine, "--static-batch", 3, "--force", code=1)
    assert "found torchscript-fp32 (the bundled network); choose another output" in result.stderr
    assert "delete artifacts/torchscript-fp32" in result.stderr
    result = run("export", *QUICK, "--checkpoint", mine, code=1)
    assert "or pass --force to replace them" in result.stderr
    words = ("--checkpoint", OURS, "--static-batch", 3)
    for flags, whose in (
        (("--activation", "tanh"), "another activation or pooling"),
        (("--mean", "0.5"), "another size, preprocessing or labels"),
    ):
        assert whose in run("export", *QUICK, *words, *flags, code=1).stderr
    assert snapshot(tmp_path) == before


def test_force_replaces_a_whole_network_and_says_how_right_it_is(mine):
    run("export", *QUICK)
    result = run("export", *QUICK, "--checkpoint", mine, "--force")
    assert "60 bundled digits: " in result.stdout
    assert "warning: accuracy is " in result.stderr
    assert "--activation" in result.stderr


@pytest.mark.usefixtures("no_build")
def test_what_is_in_the_way_is_found_before_anything_is_built(mine, tmp_path):
    (tmp_path / "file").touch()
    result = run("export", *QUICK, "-o", "file/x", code=1)
    assert "file/x: cannot write here" in result.stderr
    (tmp_path / "artifacts" / "torchscript-fp32").mkdir(parents=True)
    (tmp_path / "artifacts" / "torchscript-fp32" / "notes").touch()
    assert "a folder of other files" in run("export", *QUICK, code=1).stderr


def test_next_are_commands_to_copy(mine, tmp_path):
    folder = tmp_path / "my folder"
    result = run("export", *QUICK, "--checkpoint", mine, "-o", folder)
    path = f"'{folder / 'torchscript-fp32'}'"
    assert f"next: lenet-deploy predict --digits 10 --artifact {path} --trust" in result.stderr
    assert f"lenet-deploy verify {path} --trust --checkpoint mine.pt\n" in result.stderr
    assert "next:" not in run("-q", "export", *QUICK, "-o", "b").stderr
    assert run("export", "-q", *QUICK, "-o", "c").stderr == ""
    assert "next:" in run("export", *QUICK, "-o", "d").stderr  # it was for that run alone


def test_a_files_name_is_one_verified_file_and_its_manifest(mine, tmp_path):
    words = (*QUICK, "-o", "sub/my.pt")
    (row,) = json.loads(run("export", *words, "--json").stdout)["artifacts"]
    assert row["path"] == "sub/my.pt"
    folder = tmp_path / "sub"
    assert sorted(p.name for p in folder.iterdir()) == ["my.pt", "my.pt.manifest.json"]
    assert row["size_bytes"] == (folder / "my.pt").stat().st_size
    assert torch.jit.load(folder / "my.pt")(torch.zeros(2, 1, 32, 32)).shape == (2, 10)
    manifest = json.loads((folder / "my.pt.manifest.json").read_text())
    assert list(manifest["files"]) == ["my.pt"]
    before = snapshot(folder)
    assert "already; pass --force" in run("export", *words, code=1).stderr
    assert snapshot(folder) == before
    assert "for other tools" in run("export", *words, "--force").stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "x.pt"), "--output: expected a folder, or a file named .onnx,"),
        (("-o", "x.so", "-f", "native"), "--output: expected a folder, for 'native' artifacts"),
        (("-o", "x.onnx", "-f", "all"), "--output: expected a folder for all formats"),
        (("mine.pt",), "did you mean: lenet-deploy export --checkpoint mine.pt"),
        (("onnx",), "did you mean: lenet-deploy export --format onnx"),
        (("format=onnx",), "did you mean: lenet-deploy export --format onnx"),
        (("--format", "onx"), "did you mean onnx?"),
    ],
)
def test_what_was_meant_is_said(mine, words, message):
    assert message in run("export", *words, code=2).stderr
