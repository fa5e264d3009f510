"""Fixtures: a small data set, and a run on it that nothing interrupted."""

import pytest
from cli_helper import run
from mnist_files import make_digits, write_mnist

FLAGS = ("--epochs", "3", "--threads", "1", "--seed", "5")


@pytest.fixture(scope="module")
def one_thread():
    """A run's bits depend on the number of threads, and commands set it for the whole process."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """The folder of a small data set, easy to learn, in MNIST's own files."""
    return write_mnist(tmp_path_factory.mktemp("mnist"))


@pytest.fixture(scope="module")
def straight(one_thread, mnist, tmp_path_factory):
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    train(mnist, folder, *FLAGS)
    return folder


def train(mnist, folder, *flags, code=0):
    """Train by the command, which must end with `code`; returns its result."""
    return run("train", "--data-dir", mnist, "-o", folder, *flags, code=code)


def weights(folder):
    """The bytes of a run's weights."""
    return (folder / "lenet.safetensors").read_bytes()


def card_of(folder):
    """The card of a run's weights."""
    from lenet_deploy.training.checkpoint import read_checkpoint

    return read_checkpoint(folder / "lenet.safetensors")[1]


def make_split(count):
    """`count` digits of `make_digits` in memory."""
    import torch

    from lenet_deploy.training.data import Split

    images, labels = make_digits(count, seed=1)
    return Split(torch.from_numpy(images), torch.from_numpy(labels).long())
