"""Reading a network: the family is compiled right in any style, everything else is refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from native_c import any_compiler, levels_here, library, seeded, sequential, sources_of
from samples import digits, noise
from torch import nn

from lenet_deploy.training.model import Net
from lenet_export.network import layers
from lenet_export.network.reference import Reference
from lenet_runtime.errors import InputError
from lenet_runtime.parity import check_parity, parity_batches


class Styled(Net):
    """`Net`, with some of its parts written in another way."""

    def __init__(self, steps=None, **changes):
        super().__init__()
        for name, part in changes.items():
            setattr(self, name, part)
        self.steps = {
            "start": lambda x: x,
            "act": F.relu,
            "pool1": lambda x: F.max_pool2d(x, 2),
            "middle": lambda x: x,
            "pool2": lambda x: F.max_pool2d(x, 2),
            "flat": lambda x: torch.flatten(x, 1),
            "end": lambda x: x,
        } | (steps or {})

    def forward(self, x):
        step = self.steps
        x = step["middle"](step["pool1"](step["act"](self.conv1(step["start"](x)))))
        x = step["flat"](step["pool2"](F.relu(self.conv2(x))))
        return step["end"](self.fc3(F.relu(self.fc2(F.relu(self.fc1(x))))))


class Written(Net):
    """`Net` with a forward of its own: ``Written(lambda net, x: ...)``."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._forward = forward

    def forward(self, x):
        return self._forward(self, x)

    def features(self, x):
        return self.tail(F.max_pool2d(F.relu(self.conv1(x)), 2))

    def tail(self, x):
        return F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)

    def hidden(self, x):
        return F.relu(self.fc2(F.relu(self.fc1(x))))


# ---- the family


FAMILY = {
    "4 and 20 channels": lambda: sequential(4, 20, (50,)),
    "9 and 32 channels": lambda: sequential(9, 32, (40, 130, 50)),
    "one of each": lambda: sequential(1, 1, (1,)),
    "one dense layer, no biases": lambda: sequential(6, 16, (), bias=False),
    "two dense layers, wide": lambda: sequential(6, 15, (300,)),
    "whole registers": lambda: sequential(8, 48, (64, 32)),
}


@pytest.mark.parametrize("make", FAMILY.values(), ids=FAMILY)
def test_other_sizes_answer_as_eager_does(make):
    module = seeded(make)
    reference = Reference(module)
    for level in levels_here():
        native = library(module, any_compiler(), level, "-O0")
        batches = parity_batches(digits(), (1, 2, 3, 35))
        report = check_parity(native.run, reference.eager, reference.exact, batches, "fp32")
        report.require(level)
        images = noise(35)
        images[::4] = np.nan  # of which nothing may stay behind in the workspace
        images[1] *= np.float32(1e25)
        found = native.run(images)
        np.testing.assert_array_equal(
            np.isnan(found).all(axis=1), np.isnan(images).all((1, 2, 3)), err_msg=level
        )
        wanted = reference.eager(images[1:2])
        np.testing.assert_allclose(found[1:2], wanted, atol=1e-5 * np.abs(wanted).max())


STYLES = {
    "modules": sequential,
    "in place": lambda: Styled({"act": lambda x: F.relu(x, inplace=True)}),
    "view -1": lambda: Styled({"flat": lambda x: x.view(-1, 576)}),
    "view size": lambda: Styled({"flat": lambda x: x.view(x.size(0), -1)}),
    "reshape": lambda: Styled({"flat": lambda x: x.reshape(x.shape[0], 576)}),
    "flatten twice": lambda: Styled({"flat": lambda x: x.flatten(2).flatten(1)}),
    "named arguments": lambda: Styled(
        {"pool1": lambda x: F.max_pool2d(input=x, kernel_size=2, stride=2, ceil_mode=False)}
    ),
    "dropout in eval mode": lambda: Written(
        lambda net, x: net.fc3(net.drop(net.hidden(net.features(x)))), drop=nn.Dropout(0.5)
    ),
    "padding valid": lambda: Styled(conv1=nn.Conv2d(1, 6, 3, padding="valid")),
    "channels last": lambda: Net().to(memory_format=torch.channels_last),
    "pooling first": lambda: Styled(
        {"act": lambda x: x, "pool1": lambda x: F.relu(F.max_pool2d(x, 2))}
    ),
    "functions": lambda: Written(
        lambda net, x: F.linear(
            input=net.hidden(net.features(x)), weight=net.fc3.weight, bias=net.fc3.bias
        )
    ),
}


@pytest.mark.parametrize("make", STYLES.values(), ids=STYLES)
def test_any_style_is_read_alike(make):
    """Only what a module computes counts, not how it is written."""
    module = seeded(make)
    network = layers.read(module, (1, 32, 32))
    found = [network.conv1, network.conv2, *network.dense]
    tensors = list(module.parameters())
    for layer, weight, bias in zip(found, tensors[::2], tensors[1::2], strict=True):
        np.testing.assert_array_equal(layer.weight, weight.numpy())
        np.testing.assert_array_equal(layer.bias, bias.numpy())


def test_a_layer_may_be_used_twice():
    twice = seeded(
        lambda: Written(
            lambda net, x: net.fc3(
                F.relu(net.fc2(F.relu(net.more(F.relu(net.more(F.relu(net.fc1(net.features(x))))))))
            )),
            more=nn.Linear(120, 120),
        )
    )  # fmt: skip
    network = layers.read(twice, (1, 32, 32))
    assert [layer.weight.shape for layer in network.dense[1:3]] == [(120, 120)] * 2
    np.testing.assert_array_equal(network.dense[1].weight, network.dense[2].weight)


# ---- everything else


def styled(steps=None, **changes):
    return lambda: Styled(steps, **changes)


def written(forward, **parts):
    return lambda: Written(forward, **parts)


def past_relu(net, x):
    convolved = net.conv1(x)
    F.relu(convolved)
    return net.fc3(net.hidden(net.tail(F.max_pool2d(convolved, 2))))


def dead_end(net, x):
    hidden = net.hidden(net.features(x))
    F.relu(net.more(hidden))
    return net.fc3(hidden)


def all_but_last(net, x):
    hidden = net.hidden(net.features(x))
    net.fc3(hidden)
    return hidden


def product(net, x):
    hidden = net.hidden(net.features(x))
    return F.linear(hidden, hidden)


def impostor(x):
    return torch.ops.native_test.relu(x)


def doubled(module):
    module.register_forward_hook(lambda module, given, found: found * 2)
    return module


OTHERS = {
    # other layers
    "average pooling": (styled({"pool1": lambda x: F.avg_pool2d(x, 2)}), "avg_pool2d"),
    "leaky relu": (styled({"act": F.leaky_relu}), "leaky_relu"),
    "relu6": (styled({"act": F.relu6}), "relu6"),
    "softmax": (styled({"end": lambda x: F.softmax(x, 1)}), "softmax"),
    "relu at the end": (styled({"end": F.relu}), "linear, relu"),
    "relu twice": (styled({"middle": F.relu}), "max_pool2d, relu"),
    "no relu": (styled({"act": lambda x: x}), "conv2d, max_pool2d, conv2d"),
    "times two": (styled({"start": lambda x: x * 2}), "mul"),
    "plus one": (styled({"end": lambda x: x + 1}), "add"),
    "transposed": (styled({"start": lambda x: x.transpose(2, 3)}), "transpose"),
    "permuted": (styled({"flat": lambda x: x.permute(0, 2, 3, 1).flatten(1)}), "permute"),
    "flipped": (styled({"start": lambda x: x.flip(3)}), "flip"),
    "rolled over the batch": (styled({"start": lambda x: x.roll(1, 0)}), "roll"),
    "batch norm": (styled({"middle": nn.BatchNorm2d(6).eval()}), "batch_norm"),
    "residual": (written(lambda n, x: n.fc3(n.hidden(n.features(x) + n.features(x)))), "add"),
    "a hook": (lambda: doubled(Net()), "mul"),
    "another op's name": (styled({"act": impostor}), "native_test"),
    "one convolution": (written(lambda n, x: n.f(F.max_pool2d(F.relu(n.conv1(x)), 2).flatten(1)),
                                f=nn.Linear(1350, 10)), "found conv2d, relu, max_pool2d, flatten"),
    # other numbers
    "5x5": (styled(conv1=nn.Conv2d(1, 6, 5)), "3x3"),
    "3x4": (styled(conv2=nn.Conv2d(6, 16, (3, 4))), "3x3"),
    "stride": (styled(conv1=nn.Conv2d(1, 6, 3, 2), fc1=nn.Linear(64, 120)), "stride"),
    "padding": (styled(conv1=nn.Conv2d(1, 6, 3, padding=1), fc1=nn.Linear(784, 120)), "padding"),
    "same": (styled(conv1=nn.Conv2d(1, 6, 3, padding="same"), fc1=nn.Linear(784, 120)), "padding"),
    "dilation": (styled(conv2=nn.Conv2d(6, 16, 3, dilation=2), fc1=nn.Linear(400, 120)),
                 "dilation"),
    "groups": (styled(conv2=nn.Conv2d(6, 16, 3, groups=2)), "groups"),
    "pooling 3x3": (styled({"pool1": lambda x: F.max_pool2d(x, 3, 2)}), "kernel_size"),
    "pooling stride": (styled({"pool2": lambda x: F.max_pool2d(x, 2, 1)},
                              fc1=nn.Linear(16 * 144, 120)), "stride"),
    "pooling ceil": (styled({"pool1": lambda x: F.max_pool2d(x, 2, ceil_mode=True)}), "ceil_mode"),
    "pooling padded": (styled({"pool2": lambda x: F.max_pool2d(x, 2, padding=1)},
                              fc1=nn.Linear(16 * 49, 120)), "padding"),
    "pooling dilated": (styled({"pool2": lambda x: F.max_pool2d(x, 2, dilation=2)},
                               fc1=nn.Linear(16 * 36, 120)), "dilation"),
    "dropout that drops": (styled({"middle": lambda x: F.dropout(x, 0.5)}), "train"),
    "eleven logits": (styled(fc3=nn.Linear(84, 11)), "11"),
    # other shapes
    "16x64 images": (styled({"start": lambda x: x.reshape(x.shape[0], 1, 16, 64)},
                            fc1=nn.Linear(448, 120)), "16, 64"),
    "9x25 in between": (styled({"middle": lambda x: x.reshape(x.shape[0], 6, 9, 25)},
                               fc1=nn.Linear(528, 120)), "9, 25"),
    "channels apart": (styled({"flat": lambda x: x.flatten(2)}, fc1=nn.Linear(36, 120)), "16"),
    "a fixed batch": (styled({"flat": lambda x: x.reshape(2, 576)}), "any number of images"),
    # other wiring
    "relu past": (written(past_relu), "max_pool2d takes conv2d"),
    "a dead end": (written(dead_end, more=nn.Linear(84, 84)), "linear_3 takes relu_3"),
    "two outputs": (written(lambda n, x: (n.fc3(n.hidden(n.features(x))), x)), "one output"),
    "the hidden layer": (written(all_but_last), "one output"),
    "activations as weights": (written(product), "a parameter"),
    "constants as weights": (written(lambda n, x: F.linear(n.hidden(n.features(x)), n.c),
                                     c=torch.ones(10, 84)), "a parameter"),
    "one bias for all": (written(
        lambda n, x: F.linear(n.hidden(n.features(x)), n.fc3.weight, n.b),
        b=nn.Parameter(torch.ones(1))), "bias"),
    "another input": (written(None), "module: torch.export"),
    "float64": (lambda: Net().double(), "module: torch.export"),
    "another network": (lambda: nn.LSTM(3, 4), "module: torch.export"),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def custom_operation():
    """An operation that is called relu and is none."""

    @torch.library.custom_op("native_test::relu", mutates_args=())
    def relu(x: torch.Tensor) -> torch.Tensor:
        return x.clamp(min=0.5)

    relu.register_fake(torch.empty_like)


@pytest.mark.parametrize(("make", "reason"), OTHERS.values(), ids=OTHERS)
def test_what_is_not_of_the_family_is_refused(make, reason):
    with pytest.raises(InputError, match=reason):
        layers.read(seeded(make), (1, 32, 32))


def test_the_format_that_reads_is_named():
    with pytest.raises(InputError, match=r"^cuda: expected 3x3 kernels"):
        layers.read(seeded(styled(conv1=nn.Conv2d(1, 6, 5))), (1, 32, 32), "cuda")


@pytest.mark.parametrize("name", ["conv1", "conv2"])
def test_weights_whose_transform_overflows_are_refused(name):
    net = Net().eval()
    with torch.no_grad():
        getattr(net, name).weight[0, 0] = 3e38
    with pytest.raises(InputError, match="overflows float32; scale the layer down"):
        sources_of(net)
