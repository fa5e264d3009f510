"""ort-cpu: models that are broken, not what the manifest says, or read other files, are refused."""

import contextlib
import ctypes
import os

import numpy as np
import pytest
from artifact_files import edit_manifest, replace_file
from dense_onnx import (
    DENSE,
    DOUBLE,
    FLAT,
    FLOAT,
    INPUT,
    OUTPUT,
    WEIGHTS,
    model,
    onnx,
    value,
    write_dense,
)

import lenet_runtime
from lenet_runtime.errors import ArtifactError, ParityError


@pytest.fixture
def folder(tmp_path):
    return write_dense(tmp_path / "artifact")


def with_model(folder, made):
    data = made if isinstance(made, bytes) else made.SerializeToString()
    return replace_file(folder, "model.onnx", data)


WHOLE = model().SerializeToString()
BROKEN = {
    "empty": b"",
    "garbage": bytes(range(256)) * 16,
    "text": b"not a model",
    "truncated": WHOLE[: len(WHOLE) // 2],
    "less a byte": WHOLE[:-1],
    "no graph": onnx.ModelProto(ir_version=9).SerializeToString(),
    "ONNX Runtime's own format": b"\x20\0\0\0ORTM" + bytes(200),
    "an operator that is none": WHOLE.replace(b"Gemm", b"Gemn"),
    "a name that is not UTF-8": WHOLE.replace(b"Gemm", b"\xdcemm"),
    "a loose end": WHOLE.replace(b"flat", b"flap", 1),
    "a wrong shape": model(weights=WEIGHTS[:1000]).SerializeToString(),
    "an unknown domain": model(
        nodes=[FLAT, onnx.helper.make_node("Run", ["flat"], ["logits"], domain="evil")]
    ).SerializeToString(),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_model_that_cannot_be_loaded_is_an_artifact_error(folder, data, capfd):
    """ONNX Runtime says it in exceptions alone: nothing is printed or tried twice."""
    with_model(folder, data)
    with pytest.raises(ArtifactError, match=r"model\.onnx"):
        lenet_runtime.load(folder)
    with pytest.raises(ArtifactError, match=r"model\.onnx: ONNX Runtime") as caught:
        lenet_runtime.load(folder, trust=True)
    assert caught.value.__cause__ is not None
    assert capfd.readouterr() == ("", "")


cast = onnx.helper.make_node("Cast", ["dense"], ["logits"], to=onnx.TensorProto.INT64)
sequence = onnx.helper.make_tensor_sequence_value_info("logits", FLOAT, None)
UNLIKE = {
    "another input name": model(
        nodes=[onnx.helper.make_node("Flatten", ["image"], ["flat"]), DENSE],
        inputs=[value("image", ("batch", 1, 32, 32))],
    ),
    "another output name": model(
        nodes=[FLAT, onnx.helper.make_node("Gemm", ["flat", "weights"], ["answers"])],
        outputs=[value("answers", ("batch", 10))],
    ),
    "one input more": model(inputs=[INPUT, value("more", (1,))]),
    "one output more": model(outputs=[OUTPUT, value("flat", (None, 1024))]),
    "a static batch": model(
        inputs=[value("images", (4, 1, 32, 32))], outputs=[value("logits", (4, 10))]
    ),
    "float64": model(
        weights=WEIGHTS.astype(np.float64),
        inputs=[value("images", ("batch", 1, 32, 32), DOUBLE)],
        outputs=[value("logits", ("batch", 10), DOUBLE)],
    ),
    "integers": model(
        nodes=[FLAT, onnx.helper.make_node("Gemm", ["flat", "weights"], ["dense"]), cast],
        outputs=[value("logits", ("batch", 10), onnx.TensorProto.INT64)],
    ),
    "a sequence": model(
        nodes=[onnx.helper.make_node("SequenceConstruct", ["images"], ["logits"])],
        outputs=[sequence],
    ),
    "11 logits": model(
        weights=np.zeros((1024, 11), np.float32), outputs=[value("logits", ("batch", 11))]
    ),
}


@pytest.mark.parametrize("made", UNLIKE.values(), ids=UNLIKE)
def test_a_model_that_is_not_what_the_manifest_says_is_refused(folder, made):
    """Not admitted; and by the engine's own account, where somebody vouched for it."""
    with_model(folder, made)
    with pytest.raises(ArtifactError, match="not known to be data"):
        lenet_runtime.load(folder)
    with pytest.raises(ArtifactError, match=r"expected \[\(.*as the manifest says"):
        lenet_runtime.load(folder, trust=True)


def test_a_manifest_that_is_not_what_the_model_says_is_refused(folder):
    edit_manifest(folder, lambda d: d["inputs"][0].update(name="pixels"))
    with pytest.raises(ArtifactError, match="pixels"):
        lenet_runtime.load(folder)


def test_other_weights_fail_the_self_test(folder):
    with_model(folder, model(weights=WEIGHTS + np.float32(0.01)))
    with pytest.raises(ArtifactError, match=r"its weights have the SHA-256 .*were changed"):
        lenet_runtime.load(folder)
    with pytest.raises(ParityError, match="ort-cpu failed the self-test"):
        lenet_runtime.load(folder, trust=True)


@contextlib.contextmanager
def watch(*paths):
    """A list that afterwards says whether anybody opened or read one of `paths`."""
    libc, opened, access = ctypes.CDLL(None, use_errno=True), 0x20, 0x01
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    for path in paths:
        assert libc.inotify_add_watch(descriptor, os.fsencode(path), opened | access) >= 0
    seen = []
    try:
        yield seen
        with contextlib.suppress(BlockingIOError):
            seen.append(os.read(descriptor, 2**16))
    finally:
        os.close(descriptor)


inotify = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "inotify_init1"), reason="only Linux tells who opens a file"
)


@inotify
def test_the_watch_sees(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    with watch(tmp_path / "file") as seen:
        (tmp_path / "file").read_bytes()
    assert seen
    with watch(tmp_path / "file") as seen:
        (tmp_path / "file").stat()
    assert not seen


def external(location, **more):
    """The weights, in another file."""
    tensor = onnx.TensorProto(name="weights", data_type=FLOAT, dims=WEIGHTS.shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, text in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(text))
    return tensor


def as_initializer(tensor):
    return model(weights=tensor)


def as_constant(tensor):
    node = onnx.helper.make_node("Constant", [], ["weights"], value=tensor)
    made = model(nodes=[node, FLAT, DENSE])
    del made.graph.initializer[:]
    return made


@inotify
@pytest.mark.parametrize("place", [as_initializer, as_constant])
@pytest.mark.parametrize(
    "location",
    [
        "secret.bin",
        "./secret.bin",
        "{here}/secret.bin",
        "../{name}/secret.bin",
        "../../../../../../../../../../..{here}/secret.bin",
        "artifact/../secret.bin",
        "golden.npz",
        "link.bin",
    ],
)
def test_external_data_is_refused_and_never_read(folder, tmp_path, monkeypatch, location, place):
    """The right weights lie where the model points, so a load that succeeds has read them."""
    for path in (tmp_path / "secret.bin", tmp_path / "golden.npz"):
        path.write_bytes(WEIGHTS.tobytes())
    (tmp_path / "link.bin").symlink_to("secret.bin")
    monkeypatch.chdir(tmp_path)
    where = location.format(here=tmp_path, name=tmp_path.name)
    with_model(folder, place(external(where, offset=0, length=WEIGHTS.nbytes)))
    watched = watch(tmp_path / "secret.bin", tmp_path / "golden.npz")
    with watched as seen, pytest.raises(ArtifactError, match=r"model\.onnx"):
        lenet_runtime.load(folder, trust=True)
    assert not seen


@pytest.mark.parametrize("place", [as_initializer, as_constant])
def test_external_data_cannot_be_this_processes_memory(folder, place):
    """ONNX Runtime's own mark for "at this address"; a file must not be able to use it."""
    memory = WEIGHTS.copy()
    tensor = external("*/_ORT_MEM_ADDR_/*", offset=memory.ctypes.data, length=memory.nbytes)
    with pytest.raises(ArtifactError, match=r"model\.onnx"):
        lenet_runtime.load(with_model(folder, place(tensor)), trust=True)
