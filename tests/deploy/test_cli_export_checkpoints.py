"""`lenet-deploy export` of a checkpoint that is not as it should be: one line, exit code 1."""

import pytest
import torch
from cli_helper import run
from samples import Payload

from lenet_deploy.training.checkpoint import save_checkpoint


@pytest.mark.parametrize("name", ["module.pt", "module.pth"])
def test_a_pickled_module_is_refused_and_nothing_in_it_runs(net, tmp_path, name):
    """The safe way is named."""
    torch.save(net, tmp_path / name)
    torch.save(Payload(tmp_path / "proof"), tmp_path / "evil.pt")
    for file in (name, "evil.pt"):
        result = run(
            "export", "--checkpoint", tmp_path / file, "-o", tmp_path / "out", code=1
        )  # fmt: skip
        assert "found a pickled module" in result.stderr
        assert "safetensors.torch.save_file(net.state_dict()" in result.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["evil.pt", name])


@pytest.mark.parametrize("name", ["none.safetensors", "none.onnx", "folder.pt"])
def test_a_checkpoint_that_is_not_there_is_one_line(tmp_path, name):
    (tmp_path / "folder.pt").mkdir()
    result = run("export", "--checkpoint", tmp_path / name, "-o", tmp_path / "out", code=1)
    assert result.stderr.startswith("error: ")
    assert name in result.stderr


@pytest.mark.parametrize(
    "preprocessing", [{"mean": 0.5, "tint": 1}, {"std": 0.0}, {"mean": "bright"}, [1], None]
)
def test_a_card_with_odd_preprocessing_is_one_line(net, tmp_path, preprocessing):
    path = tmp_path / "net.safetensors"
    save_checkpoint(net, path, {"preprocessing": preprocessing})
    result = run("export", "--checkpoint", path, "-o", tmp_path / "out", code=1)
    assert result.stderr.startswith(f"error: {path}: ")
    assert "preprocessing" in result.stderr
    assert not (tmp_path / "out").exists()
