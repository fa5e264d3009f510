"""LeNet's family: each member is exported, proven, loaded and run, by every general format."""

import dataclasses

import numpy as np
import pytest
import torch
from every_format import NET_LIKE, ON_CPU, SLOW, needs_web
from family import MEMBERS, lenet, random_member
from samples import eager, raw_digits

import lenet_export
import lenet_runtime
from lenet_export.network.reference import Reference
from lenet_export.proof import bundled_right
from lenet_runtime.artifact import Artifact, trust
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import Preprocessing, to_batch

GENERAL = [name for name in ON_CPU if name not in (*SLOW, *NET_LIKE)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`made(name, format)`: the module and its artifact, made once; never change it."""
    base, done = tmp_path_factory.mktemp("family"), {}

    def make(name, format="onnx"):
        if (name, format) not in done:
            member = MEMBERS[name]
            shape = None if member.found else member.image_shape
            module, folder = member.make(), base / f"{len(done)}"
            done[name, format] = (
                module,
                lenet_export.export(module, format, folder, input_shape=shape, batch_sizes=(1, 5)),
            )
        return done[name, format]

    return make


@pytest.mark.parametrize("format", GENERAL)
@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_is_exported_and_answers_as_its_module(made, name, format):
    member, (module, artifact) = MEMBERS[name], made(name, format)
    manifest = artifact.manifest
    assert manifest.image_shape == member.image_shape
    assert (manifest.classes, manifest.output) == (member.classes, member.output)
    assert manifest.labels == tuple(map(str, range(member.classes)))
    noise = np.random.default_rng(2).standard_normal((3, *member.image_shape), np.float32)
    with lenet_runtime.load(artifact.path) as session:
        answers = session.run(noise)
        assert answers.shape == (3, member.classes)
        np.testing.assert_allclose(answers, eager(module, noise), rtol=1e-4, atol=1e-5)


@needs_web
def test_web_takes_the_family(made):
    """Other layers than LeNet's, and colours, for all; `native` is tested with every member."""
    test_every_member_is_exported_and_answers_as_its_module(made, "cifar", "web")


@pytest.mark.slow
def test_torch_compile_takes_the_family(tmp_path):
    """With kernels, a size and an output other than the bundled network's, all in one."""
    member = MEMBERS["softmax"]
    artifact = lenet_export.export(member.make(), "torch-compile", tmp_path / "a", static_batch=2)
    assert artifact.manifest.image_shape == member.image_shape
    assert artifact.manifest.output == member.output


@pytest.mark.parametrize("name", MEMBERS)
def test_onnx_graphs_of_the_family_are_data(made, name):
    """A process that did not make them loads them without trust; but batch norms are folded, which
    changes the weights, so that nobody can tell that they are the network's."""
    found = trust.reason(Artifact.open(made(name)[1].path))
    if MEMBERS[name].data:
        assert found is None
    else:
        assert "folds batch norms" in found


@pytest.mark.parametrize("seed", range(4))
def test_random_members(tmp_path, seed):
    parts = random_member(np.random.default_rng(seed))
    artifact = lenet_export.export(
        lenet(**parts), "onnx", tmp_path / "a", input_shape=parts["image_shape"], batch_sizes=[3]
    )
    assert artifact.manifest.parity.ok


# ---- what a session of them takes and gives


def test_digits_are_padded_and_probabilities_taken_as_they_are(made):
    """Of a module that ends in softmax, in log_softmax, and in neither."""
    for name in ("softmax", "examples/mnist", "47 classes"):
        module, artifact = made(name)
        images = to_batch(raw_digits(7), Preprocessing(padding=0), (1, 28, 28))
        answers = torch.tensor(eager(module, images))
        expected = answers if name == "softmax" else answers.softmax(1)
        with lenet_runtime.load(artifact.path) as session:
            prediction = session.predict(raw_digits(7))
        np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-5)
        assert np.array_equal(prediction.labels, answers.argmax(1))


def test_of_two_classes_there_are_no_three_best(made):
    with lenet_runtime.load(made("2 classes")[1].path) as session:
        assert session.predict(raw_digits(1)).top_k.shape == (1, 2)
        with pytest.raises(InputError, match="top_k: expected an integer from 1 to 2"):
            session.predict(raw_digits(1), top_k=3)


def test_three_channels_take_photos_pixels_and_grey_digits(made):
    pil = pytest.importorskip("PIL.Image")
    _, artifact = made("cifar")
    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    with lenet_runtime.load(artifact.path) as session:
        pixels = session.predict(photo[None]).probabilities
        picture = session.predict(pil.fromarray(photo)).probabilities
        large = session.predict(pil.fromarray(photo.repeat(3, 0).repeat(3, 1))).probabilities
        grey = session.predict(raw_digits(2)).probabilities
        three = session.predict(raw_digits(2)[..., None].repeat(3, -1)).probabilities
        normalised = (photo / np.float32(255) - np.float32(0.1307)) / np.float32(0.3081)
        logits = session.run(normalised.transpose(2, 0, 1)[None].astype(np.float32, order="C"))
    assert np.array_equal(pixels, picture)
    np.testing.assert_allclose(large, pixels, atol=0.05)
    assert np.array_equal(grey, three)
    np.testing.assert_allclose(pixels, torch.tensor(logits).softmax(1), atol=1e-5)


def test_channels_have_means_and_stds_of_their_own(tmp_path):
    numbers = Preprocessing((0.4914, 0.4822, 0.4465), [0.2470, 0.2435, 0.2616], 0)
    module = MEMBERS["cifar"].make()
    lenet_export.export(module, "onnx", tmp_path / "a", preprocessing=numbers, batch_sizes=[2])
    photo = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    mean, std = torch.tensor(numbers.mean), torch.tensor(numbers.std)
    normal = ((torch.tensor(photo) / 255 - mean) / std).permute(0, 3, 1, 2)
    with lenet_runtime.load(tmp_path / "a") as session:
        assert session.manifest.preprocessing == numbers
        found = session.predict(photo).probabilities
    np.testing.assert_allclose(found, module(normal).softmax(1).detach(), atol=1e-5)
    with pytest.raises(InputError, match="preprocessing: expected one mean and one std"):
        lenet_export.export(
            MEMBERS["tutorial 5x5"].make(), "onnx", tmp_path / "b", preprocessing=numbers
        )


def test_pictures_of_digits_fit_networks_of_another_size(made):
    pil = pytest.importorskip("PIL.Image")
    _, artifact = made("29x45")
    with lenet_runtime.load(artifact.path) as session:
        assert len(session.predict([pil.fromarray(digit) for digit in raw_digits(2)])) == 2
        with pytest.raises(
            InputError, match=r"expected shape \(N, 29, 45\) .* found \(2, 28, 28\)"
        ):
            session.predict(raw_digits(2))


def test_a_static_batch_has_the_shape_of_its_member(tmp_path):
    module = MEMBERS["3x24x20"].make()
    artifact = lenet_export.export(
        module, "onnx", tmp_path / "a", input_shape=(3, 24, 20), static_batch=2
    )
    assert artifact.manifest.inputs[0].shape == (2, 3, 24, 20)
    assert trust.reason(Artifact.open(artifact.path)) is None


def test_the_bundled_digits_are_counted(net, exported, made):
    manifest = exported("onnx").manifest
    assert bundled_right(Reference(net).eager, manifest) == 59
    with lenet_runtime.load(exported("onnx").path) as session:
        assert bundled_right(session.run, manifest) == 59
    turned = dataclasses.replace(manifest, labels=(*manifest.labels[1:], "0"))
    assert bundled_right(Reference(net).eager, turned) < 5
    for name in ("26 classes", "cifar"):
        module, artifact = made(name)
        assert bundled_right(Reference(module).eager, artifact.manifest) is None


# ---- shapes that are given, found out, or wrong


def test_a_module_of_any_size_is_taken_for_one_of_32(tmp_path):
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(8, 5),
    )  # fmt: skip
    artifact = lenet_export.export(module, "torchscript", tmp_path / "a", batch_sizes=[2])
    assert artifact.manifest.image_shape == (3, 32, 32)
    given = lenet_export.export(
        module, "torchscript", tmp_path / "b", input_shape=(3, 28, 28), batch_sizes=[2]
    )
    assert given.manifest.image_shape == (3, 28, 28)


@pytest.mark.parametrize(
    ("parts", "arguments", "message"),
    [
        ({"image_shape": (1, 64, 64)}, {}, r"takes images \(1, 64, 64\), .* pass input_shape="),
        ({}, {"input_shape": (1, 28, 28)}, r"takes images \(1, 32, 32\), and fails on \(1, 28"),
        ({}, {"input_shape": (3, 32, 32)}, r"takes images \(1, 32, 32\), and fails on \(3, 32"),
        ({}, {"input_shape": (4, 32, 32)}, r"1 or 3 channels .* found \(4, 32, 32\)"),
        ({}, {"input_shape": 32}, r"expected images \(C, H, W\) .* found \(32,\)"),
        ({}, {"input_shape": (1, 32, 257)}, "up to 256 pixels a side"),
        ({"image_shape": (4, 32, 32)}, {}, "first convolution of 1 or 3 channels, found 4"),
        ({"classes": 1}, {}, "2 to 1,000 classes, found 1; give each of two"),
        ({"classes": 1001}, {}, "2 to 1,000 classes, found 1001"),
        ({"classes": 26}, {"labels": list("0123456789")}, "expected 26 strings, .* found 10"),
        ({"classes": 2}, {"labels": "no"}, "labels: expected 2 strings"),
        ({"classes": 2}, {"labels": ["a", "a"]}, "labels: expected different strings"),
        ({}, {"preprocessing": (0.5, 0.5)}, "expected lenet_runtime.Preprocessing, found tuple"),
        ({}, {"preprocessing": Preprocessing(padding=16)}, "leaves something of 32x32"),
        (
            {"image_shape": (3, 256, 256), "features": ()},
            {"input_shape": (3, 256, 256), "static_batch": 100},
            "static batch: expected one whose images have at most",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, parts, arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        lenet_export.export(lenet(**parts), "onnx", tmp_path / "a", **arguments)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
