"""MNIST comes in whole, is padded before it is normalised, and is shuffled by seed and epoch."""

import gzip
import struct
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mnist_files import make_digits, write_mnist
from torchvision import transforms
from training_runs import make_split

from lenet_deploy.training import data, mnist
from lenet_deploy.training.bundle import npz_bytes
from lenet_runtime.errors import ArtifactError, InputError
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch


@pytest.fixture
def split():
    return make_split(100)


def test_mnist_is_read_as_it_was_written(tmp_path):
    root = write_mnist(tmp_path, train=20, test=10)
    images, labels = make_digits(20, seed=1)
    split = data.load_mnist(root, train=True)
    assert (split.images.numpy() == images).all()
    assert split.labels.tolist() == labels.tolist()
    assert len(data.load_mnist(root, train=False)) == 10


def test_a_missing_data_set_says_how_to_get_it(tmp_path):
    with pytest.raises(ArtifactError, match=r"--data-dir or LENET_DEPLOY_DATA_DIR.*--download"):
        data.load_mnist(tmp_path, train=True)


@pytest.mark.parametrize("folder", [".", "MNIST", "MNIST/raw", "raw"])
@pytest.mark.parametrize("named", ["torchvision", "gzip", "Kaggle", "Kaggle's folders"])
def test_mnist_is_taken_as_its_sources_pack_it(tmp_path, monkeypatch, folder, named):
    """And the training digits need not be there for the test digits."""
    raw = write_mnist(tmp_path / "written") / "MNIST" / "raw"
    target = tmp_path / "home" / folder
    target.mkdir(parents=True)
    for file in raw.glob("t10k*"):
        name = file.name.replace("-idx", ".idx") if named == "Kaggle" else file.name
        if named == "Kaggle's folders":
            (target / name).mkdir()
            name = f"{name}/{name}"
        content = file.read_bytes()
        if named == "gzip":
            name, content = f"{name}.gz", gzip.compress(content)
        (target / name).write_bytes(content)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for data_dir in (tmp_path / "home", target, Path("~")):
        images, labels = mnist.read(data_dir, train=False)
        assert (images == make_digits(50, seed=2)[0]).all()
        assert (labels == make_digits(50, seed=2)[1]).all()
    with pytest.raises(
        ArtifactError, match="found no train-images-idx3-ubyte and no train-labels-idx1-ubyte"
    ):
        mnist.read(tmp_path / "home", train=True)


def test_the_file_that_is_missing_is_named_with_its_folder(tmp_path):
    raw = write_mnist(tmp_path) / "MNIST" / "raw"
    (raw / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ArtifactError) as caught:
        mnist.read(tmp_path, train=False)
    assert str(caught.value).startswith(f"{raw}: expected MNIST here")
    assert "found no t10k-labels-idx1-ubyte. " in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.booleans(), st.integers(0, 60))
def test_bytes_that_are_no_mnist_are_an_error_of_ours(tmp_path_factory, garbage, packed, kept):
    folder = tmp_path_factory.mktemp("idx")
    whole = struct.pack(">IIII", 0x803, 1, 28, 28) + garbage
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        content = gzip.compress(whole)[:kept] if packed else whole[:kept] + garbage
        (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError):
        mnist.read(folder, train=True)


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
FEWER = struct.pack(">II", 0x801, 50) + bytes(50)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        *((IMAGES, lambda content, n=n: content[:n], "Delete") for n in (0, 3, 8, 16, 1000)),
        (IMAGES, lambda content: content + b"x", "found 250897"),
        (IMAGES, lambda content: b"\xff" * 16 + content, "expected IDX of uint8"),
        (IMAGES, lambda content: content[:4] + b"\xff" * 12, "as its head says, found 16"),
        (IMAGES, lambda content: gzip.compress(content)[:-9], "expected a whole gzip file"),
        (IMAGES, lambda content: gzip.compress(content[:16] + bytes(2**27)), "found 67108865"),
        (LABELS, lambda content: content[:-1] + bytes([10]), "labels 0 to 9, found 10"),
        (LABELS, lambda content: FEWER, "320 labels, found 50"),
    ],
)
def test_a_damaged_file_is_an_error_of_ours(tmp_path, name, damage, message):
    file = write_mnist(tmp_path) / "MNIST" / "raw" / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ArtifactError, match=message) as caught:
        data.load_mnist(tmp_path, train=True)
    assert str(caught.value).startswith(f"{file}: expected ")
    assert "Delete the file" in str(caught.value)


def test_a_failed_download_is_an_error_and_keeps_stdout_clean(tmp_path, monkeypatch, capsys):
    def fail(self):
        print("Downloading ...")
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz: no route to host")

    monkeypatch.setattr("torchvision.datasets.MNIST.download", fail)
    with pytest.raises(ArtifactError, match="no route to host"):
        data.load_mnist(tmp_path, train=True, download=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("numbers", [(0.1307, 0.3081), (0.5, 0.5)])
def test_training_preprocesses_bit_for_bit_as_the_runtime_and_torchvision_do(numbers):
    """Padding comes before normalising, so the frame is the colour of the paper."""
    (mean, std), images = numbers, load_digits().images
    x = data.preprocess(torch.from_numpy(images), Preprocessing(mean, std))
    assert x.shape == (60, 1, 32, 32)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x[:, :, 0], torch.full((60, 1, 32), -mean / std))
    assert np.array_equal(x.numpy(), to_batch(images, Preprocessing(mean, std)))
    pad, normalize = transforms.Pad(2), transforms.Normalize((mean,), (std,))
    reference = transforms.Compose([transforms.ToPILImage(), pad, transforms.ToTensor(), normalize])
    assert torch.equal(x, torch.stack([reference(image) for image in images]))


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (64, 0), (1000, 0), (64, 2)])
def test_batches_follow_the_order_and_leave_nothing_out(split, batch_size, workers):
    order = torch.randperm(100)
    batches = list(data.batches(split, batch_size, order=order, workers=workers))
    assert all(len(labels) <= batch_size for _, labels in batches)
    assert torch.equal(torch.cat([images for images, _ in batches]), split.images[order])
    assert torch.equal(torch.cat([labels for _, labels in batches]), split.labels[order])


def test_no_digits_make_no_batches(split):
    empty = data.Split(*split[torch.arange(0)])
    assert list(data.batches(empty, 64)) == []


def test_held_out_digits_are_apart_from_the_rest_and_always_the_same(split):
    marked = data.Split(split.images, torch.arange(100))
    kept, held_out = data.hold_out(marked, 30)
    assert len(held_out) == 30
    assert sorted([*kept.labels.tolist(), *held_out.labels.tolist()]) == list(range(100))
    torch.manual_seed(99)
    assert torch.equal(data.hold_out(marked, 30)[1].labels, held_out.labels)
    assert len(data.hold_out(marked, 0)[0]) == 100


def test_holding_out_everything_is_refused(split):
    with pytest.raises(InputError, match="fewer than the 100 training digits, found 100"):
        data.hold_out(split, 100)


def test_random_numbers_depend_on_seed_epoch_and_purpose_alone():
    def draw(*arguments, purpose):
        return torch.rand(4, generator=data.generator(*arguments, purpose=purpose)).tolist()

    torch.manual_seed(5)
    first = draw(1, 2, purpose=data.ORDER)
    torch.manual_seed(6)
    assert draw(1, 2, purpose=data.ORDER) == first
    others = [(2, 2, data.ORDER), (1, 3, data.ORDER), (1, 2, data.DISTORTION), (2, 1, data.ORDER)]
    assert all(draw(seed, epoch, purpose=purpose) != first for seed, epoch, purpose in others)


def distort(images):
    return data.distort(images, data.generator(0, 0, purpose=data.DISTORTION))


def test_distortion_moves_each_digit_its_own_way_and_can_be_repeated(split):
    x = data.pad(split.images[:1].repeat(5, 1, 1))
    y = distort(x)
    assert y.shape == x.shape
    assert 0 <= y.min() <= y.max() <= 1
    assert not torch.equal(y[0], y[1])
    assert torch.equal(y, distort(x))
    assert abs(y.mean() - x.mean()) < 0.1 * x.mean()  # it is still about as much ink


def test_distortion_of_no_strength_changes_nothing(split, monkeypatch):
    for name in ("ROTATION_DEGREES", "SHEAR", "SCALE", "SHIFT_PIXELS"):
        monkeypatch.setattr(data, name, 0.0)
    x = data.pad(split.images)
    torch.testing.assert_close(distort(x), x, rtol=0, atol=1e-4)


def test_shift_is_in_pixels(split, monkeypatch):
    """With nothing but shifting, ink moves at most SHIFT_PIXELS, and nearly so somewhere."""
    for name in ("ROTATION_DEGREES", "SHEAR", "SCALE"):
        monkeypatch.setattr(data, name, 0.0)
    dot = torch.zeros(500, 1, 32, 32)
    dot[:, :, 16, 16] = 1
    across = (distort(dot).sum(dim=2) * torch.arange(32)).sum(dim=-1) - 16
    assert 0.95 * data.SHIFT_PIXELS < across.abs().max() <= data.SHIFT_PIXELS + 1e-3


def test_nothing_draws_from_the_global_generator(split):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    list(data.batches(split, 50, order=torch.arange(100), workers=1))
    distort(data.pad(split.images))
    data.hold_out(split, 10)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_bundled_digits_are_the_first_six_of_each_class_in_the_real_test_set(mnist_dir):
    test = data.load_mnist(mnist_dir, train=False)
    digits = load_digits()
    assert (test.images.numpy()[digits.indices] == digits.images).all()
    assert (test.labels.numpy()[digits.indices] == digits.labels).all()
    for digit in range(10):
        first = np.flatnonzero(test.labels.numpy() == digit)[:6]
        assert digits.indices[digits.labels == digit].tolist() == first.tolist()


def test_the_bundled_digits_have_the_dtypes_and_shapes_that_are_promised():
    digits = load_digits()
    assert (digits.images.dtype, digits.images.shape) == (np.uint8, (60, 28, 28))
    assert (digits.labels.dtype, digits.labels.shape) == (np.uint8, (60,))
    assert (digits.indices.dtype, digits.indices.shape) == (np.int32, (60,))
    assert np.bincount(digits.labels).tolist() == [6] * 10
    assert (np.diff(digits.indices) > 0).all()


@pytest.mark.parametrize("package", ["lenet_runtime.images", "lenet_export", "lenet_deploy"])
def test_digits_that_are_shipped_say_whose_they_are(package):
    """tests/trials/wheel_trial.py looks into the wheel."""
    text = " ".join((files(package) / "bundled" / "NOTICE.txt").read_text().split())
    assert "Yann LeCun and Corinna Cortes hold the copyright of the MNIST data set" in text
    assert "Creative Commons Attribution-ShareAlike 3.0" in text


def test_the_bundled_digits_file_is_reproducible():
    array = np.arange(5)
    assert npz_bytes(a=array) == npz_bytes(a=array.copy())
