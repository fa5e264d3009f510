"""`Model`: the tensors around a session."""

import base64
import dataclasses
import io
import time

import numpy as np
import pytest
from fake_engine import FakePredictor
from hypothesis import given, settings
from hypothesis import strategies as st

from lenet_runtime import Preprocessing, Session
from lenet_runtime.artifact import TensorSpec
from lenet_runtime.images.digits import load_digits
from lenet_serve import Code, InferRequest, Limits, Model, RequestedOutput, ServeError, Tensor


def png(picture):
    """The bytes of a PNG file."""
    from PIL import Image

    Image.fromarray(picture).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def ask(*inputs, outputs=(), **fields):
    return InferRequest("lenet", inputs=list(inputs), outputs=list(outputs), **fields)


def tensor(name, data, datatype=None):
    names = {"float32": "FP32", "uint8": "UINT8", "int32": "INT32"}
    return Tensor(name, datatype or names[data.dtype.name], data.shape, data)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(3, 1, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def pictures():
    """Real digits, uint8 ``(N, 28, 28)``."""
    return load_digits().images[:8]


@pytest.fixture
def model(native_session):
    return Model("lenet", "1", native_session)


def test_images_are_taken_as_they_are(model, images):
    assert model.images(ask(tensor("images", images))) is images


def test_raw_bodies_are_images(model, images):
    raw = Tensor("", "", (), images.tobytes())
    assert np.array_equal(model.images(ask(raw)), images)
    for bad in (b"", images.tobytes()[:-1], b"\0" * 784):
        with pytest.raises(ServeError, match="body: expected raw FP32 images of 4096 bytes each"):
            model.images(ask(Tensor("", "", (), bad)))


def test_pixels_are_prepared_as_predict_does(model, pictures, native_session):
    prepared = model.images(ask(tensor("pixels", pictures)))
    answer = model.answer(
        ask(outputs=[RequestedOutput("probabilities")]), native_session.run(prepared)
    )
    expected = native_session.predict(pictures)
    assert np.array_equal(answer.outputs[0].data, expected.probabilities)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(0, 2**32), st.sampled_from([(28, 28), (32, 32)]))
def test_pixels_equal_the_runtimes_to_the_bit(native_session, count, seed, shape):
    from lenet_runtime.images.preprocess import to_batch

    pixels = np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)
    pixels[:, :2] = 0
    prepared = Model("lenet", "1", native_session).images(ask(tensor("pixels", pixels)))
    assert np.array_equal(prepared, to_batch(pixels, native_session.manifest.preprocessing))


def test_ambiguous_pixels_are_refused_as_predict_does(model, pictures):
    with pytest.raises(ServeError, match="expected pixels of 0 to 255, found none above 1") as e:
        model.images(ask(tensor("pixels", (pictures > 127).astype(np.uint8))))
    assert e.value.code is Code.MALFORMED


def test_files_are_pictures(model, native_session, pictures):
    files = [png(255 - picture) for picture in pictures[:2]]
    request = ask(
        Tensor("file", "BYTES", (2, 1), files), outputs=[RequestedOutput("probabilities")]
    )
    answer = model.answer(request, native_session.run(model.images(request)))
    assert np.array_equal(answer.outputs[0].data, native_session.predict(files).probabilities)
    assert answer.parameters == {}


def test_doubts_about_pictures_are_said(model, native_session, pictures):
    two = png(np.hstack([pictures[0], pictures[1]]))
    request = ask(Tensor("file", "BYTES", (2,), [png(pictures[0]), two]))
    answer = model.answer(request, native_session.run(model.images(request)))
    assert answer.parameters["warnings"].startswith("file[1]: 2 shapes of a digit's size")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "inputs: expected exactly one of images, pixels, file, found 0"),
        ([("images", (1, 1, 32, 32), "f4")] * 2, "inputs: expected exactly one of"),
        ([("image", (1, 1, 32, 32), "f4")], "inputs[0].name: expected one of images, pixels, file"),
        ([("images", (1, 1, 32, 32), "i4")], "images: expected datatype FP32, found 'INT32'"),
        ([("pixels", (1, 28, 28), "f4")], "pixels: expected datatype UINT8, found 'FP32'"),
        ([("images", (1, 28, 28), "f4")], "images: expected shape [N,1,32,32], found [1, 28, 28]"),
        ([("images", (1024,), "f4")], "images: expected shape [N,1,32,32], found [1024]"),
        ([("images", (), "f4")], "images: expected shape [N,1,32,32], found []"),
        ([("images", (0, 1, 32, 32), "f4")], "images: expected 1 to 8 images"),
        ([("images", (9, 1, 32, 32), "f4")], "images: expected 1 to 8 images"),
        ([("pixels", (), "u1")], "pixels: expected 1 to 8 images"),
        ([("pixels", (1, 20, 20), "u1")], "images: expected shape (N, 28, 28)"),
    ],
)
def test_other_inputs_are_refused(native_session, inputs, message):
    model = Model("lenet", "1", native_session, limits=Limits(rows=8))
    request = ask(*(tensor(name, np.zeros(shape, dtype)) for name, shape, dtype in inputs))
    with pytest.raises(ServeError) as caught:
        model.images(request)
    assert str(caught.value).startswith(message), str(caught.value)
    assert caught.value.code is Code.MALFORMED


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_other_files_are_refused(model, pictures, data):
    good = png(pictures[0])
    with pytest.raises(ServeError, match=r"file\[1\]: ") as caught:
        model.images(ask(Tensor("file", "BYTES", (2,), [good, data])))
    assert caught.value.code is Code.MALFORMED


def test_base64_that_is_not_called_so_is_recognised(model, pictures):
    file = base64.b64encode(png(pictures[0]))
    with pytest.raises(ServeError, match=r"file\[0\]: .* found them as base64"):
        model.images(ask(Tensor("file", "BYTES", (1,), [file])))


def test_pictures_nobody_waits_for_are_not_decoded(model):
    request = ask(Tensor("file", "BYTES", (1,), [b"not a picture"]))
    with pytest.raises(ServeError, match="deadline") as caught:
        model.images(request, time.monotonic())
    assert caught.value.code is Code.DEADLINE


def test_outputs_come_as_asked_for(model, images, native_session):
    logits = native_session.run(images)
    names = ["labels", "logits", "probabilities", "labels"]
    outputs = model.answer(ask(outputs=map(RequestedOutput, names)), logits).outputs
    assert [output.name for output in outputs] == ["labels", "logits", "probabilities"]
    assert outputs[0].data == [str(label).encode() for label in logits.argmax(axis=1)]
    assert outputs[0].shape == (3,)
    assert outputs[1].data is logits
    assert np.allclose(outputs[2].data.sum(axis=1), 1)
    assert [output.name for output in model.answer(ask(), logits).outputs] == ["logits"]


def test_classes_are_written_as_triton_writes_them(model):
    logits = np.float32([[0, 1, 5, 1, 0, 0, 0, 0, 0, -2]])
    (output,) = model.answer(ask(outputs=[RequestedOutput("logits", classes=3)]), logits).outputs
    assert (output.datatype, output.shape) == ("BYTES", (1, 3))
    assert output.data == [b"5.000000:2:2", b"1.000000:1:1", b"1.000000:3:3"]
    (output,) = model.answer(ask(outputs=[RequestedOutput("logits", classes=99)]), logits).outputs
    assert output.shape == (1, 10)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (RequestedOutput("nope"), "expected some of logits, probabilities, labels, found 'nope'"),
        (RequestedOutput("labels", classes=1), "labels is no tensor to classify by"),
    ],
)
def test_other_outputs_are_refused_before_anything_is_computed(model, images, output, message):
    with pytest.raises(ServeError, match=message):
        model.images(ask(tensor("images", images), outputs=[output]))


@pytest.mark.parametrize(
    "output", [RequestedOutput("probabilities"), RequestedOutput("labels"),
               RequestedOutput("logits", classes=3)],
)  # fmt: skip
def test_images_that_overflow_have_no_probabilities_and_that_is_the_clients_fault(model, output):
    huge = np.full((1, 1, 32, 32), 3e38, np.float32)
    tensor = Tensor("images", "FP32", huge.shape, huge)
    request = InferRequest("lenet", inputs=[tensor], outputs=[output])
    with np.errstate(all="ignore"):
        logits = model.session.run(model.images(request))
    assert not np.isfinite(logits).all()
    with pytest.raises(ServeError, match="NaN or infinity") as caught:
        model.answer(request, logits)
    assert caught.value.code is Code.MALFORMED


def test_documents(model):
    metadata = model.metadata()
    assert metadata["inputs"] == [
        {"name": "images", "datatype": "FP32", "shape": [-1, 1, 32, 32]},
        {"name": "pixels", "datatype": "UINT8", "shape": [-1, 28, 28]},
        {"name": "file", "datatype": "BYTES", "shape": [-1]},
    ]
    assert metadata["outputs"] == [
        {"name": "logits", "datatype": "FP32", "shape": [-1, 10]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
        {"name": "labels", "datatype": "BYTES", "shape": [-1]},
    ]
    assert (metadata["platform"], metadata["versions"]) == ("lenet_native", ["1"])
    config = model.config()
    assert (config["name"], config["max_batch_size"]) == ("lenet", model.limits.rows)
    assert config["input"][0]["dims"] == [1, 32, 32]
    assert [entry["optional"] for entry in config["input"]] == [False, True, True]
    assert config["parameters"]["format"] == {"string_value": "native"}
    assert "dynamic_batching" not in config
    batched = Model("lenet", "1", model.session, max_batch=8).config()
    assert batched["dynamic_batching"]["preferred_batch_size"] == [8]


def member(native_session, image_shape, classes, output="logits", batch=None):
    """A model of another member of the family, whose engine answers a row of its input."""
    manifest = dataclasses.replace(
        native_session.manifest,
        inputs=(TensorSpec("images", "float32", (batch, *image_shape)),),
        outputs=(TensorSpec(output, "float32", (batch, classes)),),
        labels=tuple(f"class {n}" for n in range(classes)),
        preprocessing=Preprocessing(0.5, 0.5, 0),
    )
    artifact = dataclasses.replace(native_session.artifact, manifest=manifest)
    predictor = FakePredictor()
    predictor.run = lambda images: np.abs(images.reshape(len(images), -1)[:, :classes])
    return Model("member", "1", Session(predictor, artifact, "fake"))


def test_a_coloured_member(native_session):
    model = member(native_session, (3, 20, 24), 4)
    metadata = model.metadata()
    assert [entry["shape"] for entry in metadata["inputs"]] == [
        [-1, 3, 20, 24], [-1, 20, 24, 3], [-1],
    ]  # fmt: skip
    photo = np.random.default_rng(1).integers(0, 256, (1, 20, 24, 3), np.uint8)
    request = ask(tensor("pixels", photo), outputs=[RequestedOutput("labels")])
    prepared = model.images(request)
    assert prepared.shape == (1, 3, 20, 24)
    answer = model.answer(request, model.session.run(prepared))
    assert answer.outputs[0].data[0].startswith(b"class ")


@pytest.mark.parametrize("output", ["probabilities", "log_probabilities"])
def test_a_member_that_answers_something_else(native_session, output):
    model = member(native_session, (1, 32, 32), 4, output)
    names = [entry["name"] for entry in model.metadata()["outputs"]]
    assert names == list(dict.fromkeys([output, "probabilities", "labels"]))
    answers = np.float32([[0.1, 0.2, 0.6, 0.1]])
    if output == "log_probabilities":
        answers = np.log(answers)
    assert model.answer(ask(), answers).outputs[0].name == output
    (probabilities,) = model.answer(
        ask(outputs=[RequestedOutput("probabilities")]), answers
    ).outputs
    assert np.allclose(probabilities.data, [[0.1, 0.2, 0.6, 0.1]])
    with pytest.raises(ServeError, match="expected some of"):
        model.images(ask(outputs=[RequestedOutput("logits")]))


def test_a_static_artifact_takes_its_own_batch(native_session):
    model = member(native_session, (1, 32, 32), 10, batch=4)
    assert model.max_batch == 1
    assert Model("member", "1", model.session, max_batch=8).max_batch == 1
    assert model.metadata()["inputs"][0]["shape"] == [4, 1, 32, 32]
    assert model.config()["max_batch_size"] == 0
    assert model.config()["input"][0]["dims"] == [4, 1, 32, 32]
    model.images(ask(tensor("images", np.zeros((4, 1, 32, 32), np.float32))))
    with pytest.raises(ServeError, match="expected 4 images, the batch size that this model"):
        model.images(ask(tensor("images", np.zeros((1, 1, 32, 32), np.float32))))
