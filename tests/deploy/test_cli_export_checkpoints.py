"""`lenet-deploy export` of a checkpoint that is not as it should be: one line, exit code 1."""

import os

import pytest
import torch
from cli_helper import run

from lenet_deploy.training.checkpoint import save_checkpoint


class Evil:
    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("name", ["module.pt", "module.pth"])
def test_a_pickled_module_is_refused_and_nothing_in_it_runs(net, tmp_path, name):
    """The safe way is named."""
    torch.save(net, tmp_path / name)
    torch.save(Evil(tmp_path / "proof"), tmp_path / "evil.pt")
    for file in (name, "evil.pt"):
        result = run(
            "export", "--checkpoint", tmp_path / file, "-o", tmp_path / "out", code=1
        )  # fmt: skip
        assert "found a pickled module" in result.stderr
        assert "safetensors.torch.save_file(net.state_dict()" in result.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["evil.pt", name])


def test_every_wrong_key_is_listed(net, tmp_path):
    state = dict(net.state_dict())
    del state["fc1.bias"]
    state |= {"fc2.weight": torch.zeros(3, 3), "conv9.weight": torch.zeros(1)}
    torch.save(state, tmp_path / "net.pt")
    error = run(
        "export", "--checkpoint", tmp_path / "net.pt", "-o", tmp_path / "out", code=1
    ).stderr  # fmt: skip
    assert all(name in error for name in ("fc1.bias", "fc2.weight", "conv9.weight"))
    assert "conv1.weight" not in error


def test_weights_that_are_not_finite_are_refused(net, tmp_path):
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state["fc3.bias"][0] = float("nan")
    torch.save(state, tmp_path / "net.pt")
    error = run("export", "--checkpoint", tmp_path / "net.pt", "-o", tmp_path / "o", code=1).stderr
    assert "NaN or infinity in fc3.bias" in error


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
