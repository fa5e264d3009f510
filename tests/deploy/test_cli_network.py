"""From the user's own checkpoint to a proven artifact, and back: the flags of the network."""

import json

import pytest
import torch
from cli_helper import run
from torch import nn

from lenet_runtime.artifact import Artifact, trust
from lenet_runtime.images.preprocess import Preprocessing

D2L = ("--activation", "sigmoid", "--pooling", "average", "--input-size", "28")
LETTERS = tuple("abcdefghijkl")

NETWORK = """
import torch
from torch import nn
class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(),
            nn.Dropout(), nn.Linear(4 * 6 * 6, 10), nn.LogSoftmax(dim=1))
    def forward(self, x):
        return self.layers(x)
"""


def d2l(classes=12):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5),
        nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 20), nn.Sigmoid(),
        nn.Linear(20, classes),
    )  # fmt: skip


def test_there_and_back(tmp_path):
    """One export, for its time: what it records, what verify takes, and what verify refuses."""
    mine, artifact = tmp_path / "mine.pt", tmp_path / "out" / "onnx-fp32"
    torch.save({"model": {f"module.{n}": v for n, v in d2l().state_dict().items()}}, mine)
    (tmp_path / "labels.txt").write_text("\n".join(LETTERS) + "\n")
    printed = run(
        "export", "--checkpoint", mine, "-o", tmp_path / "out", "--batch-sizes", "1",
        "--mean", "0", "--std", "1", "--labels", tmp_path / "labels.txt", "--json", *D2L,
    )  # fmt: skip
    manifest = Artifact.open(artifact).manifest
    assert manifest.image_shape == (1, 28, 28)
    assert manifest.labels == LETTERS
    assert manifest.preprocessing == Preprocessing(0.0, 1.0, 0)
    assert json.loads(printed.stdout)["artifacts"][0]["proven"]
    assert f"{mine}: took 'model'; dropped the prefix 'module.'\n" in printed.stderr
    assert "inferred: conv 5x5 1->6, padding 2, average pool, conv 5x5 6->16" in printed.stderr
    assert "assumed" not in printed.stderr  # all of it was told

    # The size of the image is the artifact's.
    told = verify(artifact, "--checkpoint", mine, *D2L[:4], "--json")
    assert json.loads(told.stdout)["ok"]
    assert "warning: accuracy" not in told.stderr  # these are no digits
    assert "assumed" not in told.stderr  # nor the artifact's own mean
    other = verify(artifact, "--checkpoint", mine, "--activation", "tanh", code=3)
    assert "with another --activation or --pooling than at the export answer otherwise" in (
        " ".join(other.stderr.split())
    )

    # Of other weights, the bundled ones among them, a comparison would prove nothing.
    torch.save({n: v + 1 for n, v in d2l().state_dict().items()}, tmp_path / "other.pt")
    for flags in ((), ("--checkpoint", tmp_path / "other.pt")):
        refused = verify(artifact, *flags, code=1)
        assert "expected the weights it was exported from" in refused.stderr
        assert refused.stdout == ""


def verify(artifact, *flags, code=0):
    """Run the command on the bundled digits, which are quick."""
    return run(
        "verify", artifact, *flags, "--batch-sizes", "1", code=code, LENET_DEPLOY_DATA_DIR=None
    )


def test_batch_norm_leaves_an_onnx_that_needs_no_trust(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 5), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 5),
        nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(200, 10),
    )  # fmt: skip
    torch.save(net.state_dict(), tmp_path / "a.ckpt")
    said = run(
        "export", "--checkpoint", tmp_path / "a.ckpt", "-o", tmp_path / "out", "--mean",
        "0.5,0.4,0.3", "--std", "0.2,0.2,0.2", "--batch-sizes", "1",
    ).stderr  # fmt: skip
    artifact = Artifact.open(tmp_path / "out" / "onnx-fp32")
    assert artifact.manifest.preprocessing == Preprocessing((0.5, 0.4, 0.3), (0.2, 0.2, 0.2), 2)
    assert not trust.reason(artifact)
    assert "batch norm before the activation, its eps 1e-05" in said


def test_a_model_of_ones_own_is_exported_and_verified(tmp_path):
    (tmp_path / "mine.py").write_text(NETWORK)
    scope = {}
    exec(NETWORK, scope)
    torch.manual_seed(0)
    torch.save(scope["Mine"]().state_dict(), tmp_path / "a.pt")
    flags = ("--checkpoint", tmp_path / "a.pt", "--model", f"{tmp_path}/mine.py:Mine")
    run("export", *flags, "-o", tmp_path / "out", "--batch-sizes", "1")
    artifact = tmp_path / "out" / "onnx-fp32"
    assert Artifact.open(artifact).manifest.output == "log_probabilities"
    assert Artifact.open(artifact).manifest.image_shape == (1, 28, 28)
    assert json.loads(verify(artifact, *flags, "--json").stdout)["ok"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--input-size", "big"), "--input-size: expected pixels of a side, as 28, or HxW"),
        (("--input-size", "0"), "--input-size: expected pixels"),
        (("--input-size", "4096"), "--input-size: expected pixels"),
        (("--mean", "black"), "--mean: expected a number, as 0.5, or one for each of 3 channels"),
        (("--std", "1,2"), "--mean, --std"),
        (("--std", "nan"), "--mean, --std"),
        (("--labels", "a,b"), "--labels: expected 10 different names"),
        (("--activation", "gelu"), "--activation: expected relu, tanh, sigmoid, found 'gelu'"),
        (("--pooling", "min"), "--pooling: expected max, average, found 'min'"),
        (("--model", "net.py"), "--model: expected FILE.py:ClassName"),
        (("--model", "none.py:Net"), "--model: expected FILE.py:ClassName or package.module:Class"),
    ],
)
def test_a_flag_that_makes_no_sense_is_refused(tmp_path, flags, said):
    refused = run("export", "-o", tmp_path / "out", *flags, code=2)
    assert said in refused.stderr
    assert not (tmp_path / "out").exists()


def test_labels_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\x00")
    refused = run("export", "--labels", tmp_path / "labels.txt", code=2)
    assert "labels.txt: cannot be read: it is not UTF-8" in refused.stderr
