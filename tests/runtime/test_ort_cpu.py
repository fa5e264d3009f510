"""ort-cpu: ONNX Runtime's own ways and errors stop at this backend."""

import contextlib
import ctypes
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from artifact_files import edit_manifest, replace_file, write_artifact
from processes import python
from samples import noise

import lenet_runtime
from lenet_runtime.artifact import Artifact, golden
from lenet_runtime.backends import BACKENDS
from lenet_runtime.backends.ort import ort_cpu
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeployError, ParityError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

WEIGHTS = np.random.default_rng(0).standard_normal((1024, 10)).astype(np.float32)
IMAGES = noise(4, seed=1)
FLAT = onnx.helper.make_node("Flatten", ["images"], ["flat"])
DENSE = onnx.helper.make_node("MatMul", ["flat", "weights"], ["logits"])
FLOAT, DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE


def value(name, shape, kind=FLOAT):
    return onnx.helper.make_tensor_value_info(name, kind, shape)


INPUT, OUTPUT = value("images", ("batch", 1, 32, 32)), value("logits", ("batch", 10))


def model(nodes=(FLAT, DENSE), weights=WEIGHTS, inputs=(INPUT,), outputs=(OUTPUT,)):
    """One dense layer, as ONNX; `weights` may be a tensor already."""
    if isinstance(weights, np.ndarray):
        weights = onnx.numpy_helper.from_array(weights, "weights")
    graph = onnx.helper.make_graph(list(nodes), "dense", list(inputs), list(outputs), [weights])
    opset = onnx.helper.make_opsetid("", 20)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)


@pytest.fixture
def folder(tmp_path):
    """An ONNX artifact of one dense layer."""
    folder = write_artifact(tmp_path / "artifact", format="onnx")
    (folder / "model.fake").unlink()
    edit_manifest(folder, lambda d: d["files"].pop("model.fake"))
    replace_file(folder, "golden.npz", golden.write(IMAGES, IMAGES.reshape(4, -1) @ WEIGHTS))
    return replace_file(folder, "model.onnx", model().SerializeToString())


def with_model(folder, made):
    data = made if isinstance(made, bytes) else made.SerializeToString()
    return replace_file(folder, "model.onnx", data)


def test_a_dense_layer_is_an_artifact(folder):
    with lenet_runtime.load(folder) as session:
        assert session.backend == "ort-cpu"
        np.testing.assert_allclose(
            session.run(IMAGES), IMAGES.reshape(4, -1) @ WEIGHTS, rtol=1e-4, atol=1e-4
        )


WHOLE = model().SerializeToString()
BROKEN = {
    "empty": b"",
    "garbage": bytes(range(256)) * 16,
    "text": b"not a model",
    "truncated": WHOLE[: len(WHOLE) // 2],
    "less a byte": WHOLE[:-1],
    "no graph": onnx.ModelProto(ir_version=9).SerializeToString(),
    "ONNX Runtime's own format": b"\x20\0\0\0ORTM" + bytes(200),
    "an operator that is none": WHOLE.replace(b"MatMul", b"MatMil"),
    "a name that is not UTF-8": WHOLE.replace(b"MatMul", b"\xdcatMul"),
    "a loose end": WHOLE.replace(b"flat", b"flap", 1),
    "a wrong shape": model(weights=WEIGHTS[:1000]).SerializeToString(),
    "an unknown domain": model(
        nodes=[FLAT, onnx.helper.make_node("Run", ["flat"], ["logits"], domain="evil")]
    ).SerializeToString(),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_model_that_cannot_be_loaded_is_an_artifact_error(folder, data, capfd):
    """ONNX Runtime says it in exceptions alone: nothing is printed or tried twice."""
    with pytest.raises(ArtifactError, match=r"model\.onnx") as caught:
        lenet_runtime.load(with_model(folder, data))
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
        nodes=[FLAT, onnx.helper.make_node("MatMul", ["flat", "weights"], ["answers"])],
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
        nodes=[FLAT, onnx.helper.make_node("MatMul", ["flat", "weights"], ["dense"]), cast],
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
    with pytest.raises(ArtifactError, match=r"expected \[\(.*as the manifest says"):
        lenet_runtime.load(with_model(folder, made))


def test_a_manifest_that_is_not_what_the_model_says_is_refused(folder):
    edit_manifest(folder, lambda d: d["inputs"][0].update(name="pixels"))
    with pytest.raises(ArtifactError, match="pixels"):
        lenet_runtime.load(folder)


def test_other_weights_fail_the_self_test(folder):
    with pytest.raises(ParityError, match="ort-cpu failed the self-test"):
        lenet_runtime.load(with_model(folder, model(weights=WEIGHTS + np.float32(0.01))))


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
        lenet_runtime.load(folder)
    assert not seen


@pytest.mark.parametrize("place", [as_initializer, as_constant])
def test_external_data_cannot_be_this_processes_memory(folder, place):
    """ONNX Runtime's own mark for "at this address"; a file must not be able to use it."""
    memory = WEIGHTS.copy()
    tensor = external("*/_ORT_MEM_ADDR_/*", offset=memory.ctypes.data, length=memory.nbytes)
    with pytest.raises(ArtifactError, match=r"model\.onnx"):
        lenet_runtime.load(with_model(folder, place(tensor)))


@pytest.mark.parametrize("name", ["with space", os.fsdecode(b"caf\xe9"), "日本", "a" * 200])
def test_the_artifact_may_lie_under_any_path(folder, tmp_path, name):
    lenet_runtime.load(folder.rename(tmp_path / name)).close()


def test_onnx_runtime_that_is_missing_is_unavailable(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'lenet-deploy\[cpu\]'") as caught:
        lenet_runtime.load(folder, backend="ort-cpu")
    assert isinstance(caught.value.__cause__, ImportError)
    with pytest.raises(BackendUnavailable, match=r"ort-cpu: ONNX Runtime cannot be imported"):
        lenet_runtime.load(folder)


def test_its_version_is_told():
    assert BACKENDS["ort-cpu"].probe("cpu") == onnxruntime.__version__


def test_another_provider_is_never_accepted(folder, monkeypatch):
    """Compare what the engine says it uses with what was asked."""

    class Fallback(onnxruntime.InferenceSession):
        def get_providers(self):
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Fallback)
    with pytest.raises(BackendUnavailable, match=r"found .*CUDAExecutionProvider"):
        lenet_runtime.load(folder)


def test_one_provider_is_asked_for(folder, monkeypatch):
    asked = []
    real = onnxruntime.InferenceSession

    def spy(data, options, **keywords):
        asked.append((keywords["providers"], options.intra_op_num_threads))
        return real(data, options, **keywords)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    lenet_runtime.load(folder, threads=3).close()
    lenet_runtime.load(folder).close()
    assert asked == [(["CPUExecutionProvider"], 3), (["CPUExecutionProvider"], 0)]


def test_a_run_that_fails_is_a_deploy_error(folder):
    """The predictor itself, given what Session would have refused."""
    predictor = ort_cpu.load(Artifact.open(folder), "cpu", None)
    with pytest.raises(DeployError, match=r"ort-cpu failed on \(1, 1, 28, 28\)") as caught:
        predictor.run(np.zeros((1, 1, 28, 28), np.float32))
    assert caught.value.__cause__ is not None


def test_threads_that_share_run_options_get_sequential_answers(onnx_artifact):
    """One `RunOptions` for all calls, bitwise the answers of one caller."""
    batches = [noise(1 + i % 5, seed=i) for i in range(400)]
    with lenet_runtime.load(onnx_artifact.path, threads=1) as session:
        alone = [session.run(batch) for batch in batches]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(session.run, batches))
    for expected, found in zip(alone, together, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_no_call_makes_run_options(folder, monkeypatch):
    made = []
    real = onnxruntime.RunOptions
    monkeypatch.setattr(onnxruntime, "RunOptions", lambda: made.append(real()) or made[-1])
    predictor = ort_cpu.load(Artifact.open(folder), "cpu", None)
    real_run, given = predictor._run, []
    predictor._run = lambda *arguments: given.append(arguments[2]) or real_run(*arguments)
    predictor.run(IMAGES)
    predictor.run(IMAGES)
    assert len(made) == 1
    assert given == made * 2


def test_a_closed_predictor_says_so(folder):
    predictor = ort_cpu.load(Artifact.open(folder), "cpu", None)
    predictor.close()
    predictor.close()
    with pytest.raises(DeployError, match="closed"):
        predictor.run(IMAGES)


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_as_many_threads_are_started_as_were_asked_for(folder, threads):
    """The calling thread is one of them."""
    code = """
import os, sys
import lenet_runtime, onnxruntime
before = len(os.listdir("/proc/self/task"))
with lenet_runtime.load(sys.argv[1], threads=int(sys.argv[2])):
    print(len(os.listdir("/proc/self/task")) - before)
"""
    done = python(code, folder, threads)
    assert int(done.stdout) == threads - 1
    assert not done.stderr
