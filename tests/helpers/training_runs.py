"""Runs of `lenet-deploy train` on a small data set, and the same digits in memory."""

import torch
from cli_helper import run
from mnist_files import make_digits

from lenet_deploy.training import data, runs
from lenet_deploy.training.checkpoint import read_checkpoint

FLAGS = ("--epochs", "3", "--threads", "1", "--seed", "5")


def train(mnist, folder, *flags, code=0):
    """Run the command, which must end with `code`; returns its result."""
    return run("train", "--data-dir", mnist, "-o", folder, *flags, code=code)


def weights(folder):
    """The bytes of the weights in the folder of a run."""
    return (folder / runs.WEIGHTS).read_bytes()


def card_of(folder):
    """The card of the weights in the folder of a run."""
    return read_checkpoint(folder / runs.WEIGHTS)[1]


def make_split(count):
    """`count` digits of `make_digits` in memory."""
    images, labels = make_digits(count, seed=1)
    return data.Split(torch.from_numpy(images), torch.from_numpy(labels).long())
