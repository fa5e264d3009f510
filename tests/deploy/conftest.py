"""Fixtures for tests of training: a small data set, and a finished run on it."""

import pytest
from mnist_files import write_mnist


@pytest.fixture(scope="module")
def one_thread():
    """A run's bits depend on the number of threads, and commands set it for the whole process."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def mnist(tmp_path_factory):
    """A folder with 320 training digits and 50 test digits in MNIST's files; never change it."""
    return write_mnist(tmp_path_factory.mktemp("mnist"))


@pytest.fixture(scope="module")
def straight(one_thread, mnist, tmp_path_factory):
    """The folder of a run that was not interrupted; never change it."""
    from training_runs import FLAGS, train

    folder = tmp_path_factory.mktemp("runs") / "straight"
    train(mnist, folder, *FLAGS)
    return folder
