"""Checkpoints of every kind, for tests."""

import pytest

CARD = {"preprocessing": {"mean": 0.5, "std": 0.5, "padding": 2}}
KINDS = [".safetensors", ".pt", ".pth", ".old.pt"]


@pytest.fixture
def fresh_net():
    """`Net` with random weights."""
    torch = pytest.importorskip("torch")
    from lenet_deploy.training.model import Net

    torch.manual_seed(0)
    return Net()


def same(net, other):
    """Whether two modules have equal weights under equal names."""
    import torch

    mine, theirs = net.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[n], theirs[n]) for n in mine)


def write(net, folder, kind):
    """Write `net` in one of `KINDS`: safetensors, or a state dict in torch's formats."""
    import torch

    from lenet_deploy.training.checkpoint import save_checkpoint

    path = folder / f"a{kind}"
    if kind == ".safetensors":
        save_checkpoint(net, path, CARD)
    else:
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=kind != ".old.pt")
    return path
