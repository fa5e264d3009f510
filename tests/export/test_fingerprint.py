"""The fingerprint of a network's weights."""

import copy

import torch
from torch import nn

from lenet_deploy.training.model import Net
from lenet_export.network import weights

# ---- the names of weights


def test_fingerprint_knows_every_bit_name_shape_and_dtype():
    torch.manual_seed(0)
    first = Net()
    prints = {weights.fingerprint(first), weights.fingerprint(copy.deepcopy(first).train())}
    assert len(prints) == 1
    changed = copy.deepcopy(first)
    with torch.no_grad():
        changed.fc3.bias[9] = torch.nextafter(changed.fc3.bias[9], torch.tensor(9.0))
    assert weights.fingerprint(changed) not in prints


def test_fingerprint_is_of_more_than_bytes():
    """Six zeros, in another shape, type, or under another name."""

    def holding(name, tensor):
        module = nn.Module()
        module.register_buffer(name, tensor)
        return weights.fingerprint(module)

    zeros = torch.zeros(6)
    kinds = [("a", zeros), ("b", zeros), ("a", zeros.reshape(2, 3)), ("a", zeros.reshape(3, 2))]
    kinds += [("a", zeros.int()), ("a", torch.zeros(12).bfloat16()), ("a", torch.zeros(()))]
    assert len({holding(*kind) for kind in kinds}) == len(kinds)
