"""`Net` is the classic network, name for name and shape for shape."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it

from lenet_deploy.training.model import Net

CLASSIC = {
    "conv1.weight": (6, 1, 3, 3),
    "conv1.bias": (6,),
    "conv2.weight": (16, 6, 3, 3),
    "conv2.bias": (16,),
    "fc1.weight": (120, 576),
    "fc1.bias": (120,),
    "fc2.weight": (84, 120),
    "fc2.bias": (84,),
    "fc3.weight": (10, 84),
    "fc3.bias": (10,),
}


def test_state_dict_has_the_classic_keys_in_order_and_shapes():
    shapes = {name: tuple(tensor.shape) for name, tensor in Net().state_dict().items()}
    assert list(shapes.items()) == list(CLASSIC.items())
    assert all(tensor.dtype == torch.float32 for tensor in Net().state_dict().values())
    assert sum(p.numel() for p in Net().parameters()) == 81_194


@pytest.mark.parametrize("count", [0, 1, 2, 64])
def test_any_number_of_images_gets_as_many_rows_of_logits(count):
    logits = Net()(torch.zeros(count, 1, 32, 32))
    assert logits.shape == (count, 10)
    assert logits.dtype == torch.float32


def test_forward_is_two_convolutions_and_three_dense_layers():
    """Written out once more from the weights, independently of the module's own forward."""
    torch.manual_seed(0)
    net, x = Net(), torch.randn(3, 1, 32, 32)
    w = net.state_dict()
    y = F.max_pool2d(F.conv2d(x, w["conv1.weight"], w["conv1.bias"]).clamp(min=0), 2)
    y = F.max_pool2d(F.conv2d(y, w["conv2.weight"], w["conv2.bias"]).clamp(min=0), 2)
    y = y.reshape(3, 576)
    y = (y @ w["fc1.weight"].T + w["fc1.bias"]).clamp(min=0)
    y = (y @ w["fc2.weight"].T + w["fc2.bias"]).clamp(min=0)
    y = y @ w["fc3.weight"].T + w["fc3.bias"]
    torch.testing.assert_close(net(x), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 28, 28), (1, 3, 32, 32), (32, 32)])
def test_other_shapes_are_refused(shape):
    with pytest.raises((RuntimeError, IndexError)):
        Net()(torch.zeros(shape))
