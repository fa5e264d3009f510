"""Which ONNX graphs are data: every hostile one is refused before an engine sees it."""

import json

import numpy as np
import pytest
from artifact_files import edit_manifest, replace_file
from dense_onnx import DENSE, FLAT, WEIGHTS, onnx, value, weights_sha256, write_dense
from hostile_onnx import HOSTILE, write_hostile
from onnx_parts import RIGHT, conv, node, pool, with_nodes
from processes import python

import lenet_runtime
from lenet_runtime.artifact import Artifact, golden, trust
from lenet_runtime.artifact.graph import admission, messages
from lenet_runtime.errors import ArtifactError, ParityError
from tests.fuzz import Draw, onnx_models, worker


def write(folder, made):
    """A dense artifact with this model and the manifest's account of its weights."""
    tensors = [
        (t.name, "torch.float32", tuple(t.dims), t.raw_data)
        for t in made.graph.initializer
        if t.data_type == messages.FLOAT
    ]
    write_hostile(folder, made)
    return edit_manifest(
        folder, lambda document: document.update(weights_sha256=admission.fingerprint(tensors))
    )


def reason(folder):
    """Why the artifact needs trust; None where it is data."""
    return trust.reason(Artifact.open(folder))


def test_the_right_model_is_data(tmp_path):
    folder = write_dense(tmp_path / "a")
    assert reason(folder) is None
    lenet_runtime.load(folder).close()


@pytest.mark.parametrize(("why", "made"), [(k[1], v) for k, v in HOSTILE.items()],
                         ids=[name for name, _ in HOSTILE])  # fmt: skip
def test_a_hostile_model_is_refused_for_what_it_is(tmp_path, why, made):
    folder = write_hostile(tmp_path / "a", made)
    with pytest.raises(ValueError, match=r"(?s).") as caught:
        admission.check(Artifact.open(folder))
    assert why in str(caught.value)
    assert len(str(caught.value)) < 500


def test_no_hostile_model_reaches_the_engine(tmp_path):
    """One process with little memory loads them all: typed errors, at once."""
    for number, made in enumerate(HOSTILE.values()):
        write_hostile(tmp_path / str(number), made)
    code = """
import json, os, resource, sys, time
import lenet_runtime, onnxruntime

onnxruntime.InferenceSession = lambda *arguments, **options: os.abort()
size = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (size + 2**26, size + 2**26))
for number in range(int(sys.argv[2])):
    start = time.process_time()
    try:
        lenet_runtime.load(f"{sys.argv[1]}/{number}")
        print(json.dumps(["loaded", "", 0]))
    except lenet_runtime.DeployError as error:
        took = time.process_time() - start
        print(json.dumps([type(error).__name__, str(error), took]))
"""
    done = python(code, tmp_path, len(HOSTILE))
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [kind for kind, _, _ in answers] == ["ArtifactError"] * len(HOSTILE)
    assert all("trust=True" in text or "not an ONNX model" in text for _, text, _ in answers)
    assert max(took for _, _, took in answers) < 2


# ---- what is admitted


def act(kind, **attributes):
    return with_nodes(
        node(kind, ["images"], ["features"], **attributes), node("Flatten", ["features"], ["flat"]),
        DENSE,
    )  # fmt: skip


def small(made, features):
    """The model with weights of fewer rows."""
    tensor = onnx.numpy_helper.from_array(WEIGHTS[:features], "weights")
    made.graph.initializer[0].CopyFrom(tensor)
    return made


FAMILY = {
    "relu": act("Relu"),
    "tanh": act("Tanh"),
    "sigmoid": act("Sigmoid"),
    "3x3": small(conv(), 900),
    "5x5": small(conv((1, 1, 5, 5)), 784),
    "3x3, same size": conv(pads=[1, 1, 1, 1], group=1, dilations=[1, 1], strides=[1, 1]),
    "5x5, same size": conv((1, 1, 5, 5), pads=[2, 2, 2, 2], kernel_shape=[5, 5]),
    "max pool": small(pool(), 256),
    "average pool": small(pool("AveragePool", count_include_pad=1), 256),
    "softmax": with_nodes(FLAT, node("Gemm", ["flat", "weights"], ["x"]),
                          node("Softmax", ["x"], ["logits"])),
    "log softmax": with_nodes(FLAT, node("Gemm", ["flat", "weights"], ["x"]),
                              node("LogSoftmax", ["x"], ["logits"], axis=1)),
}  # fmt: skip


@pytest.mark.parametrize("made", FAMILY.values(), ids=FAMILY)
def test_the_family_is_data(tmp_path, made):
    """And ONNX Runtime runs it: the right golden file is all that this one lacks."""
    onnx.checker.check_model(made, full_check=True)
    folder = write(tmp_path / "a", made)
    assert reason(folder) is None
    with pytest.raises(ParityError, match="self-test"):
        lenet_runtime.load(folder)


@pytest.mark.parametrize("batch", [4, 1000])
def test_the_self_test_is_bounded_by_the_images_it_may_run(tmp_path, batch):
    """A layer of 16 channels, 17,408 numbers an image: 4 images are few, 1,000 too many."""
    folder = write(tmp_path / "a", small(conv((16, 1, 3, 3), pads=[1] * 4), 1024))
    images = np.zeros((batch, 1, 32, 32), np.float32)
    replace_file(folder, "golden.npz", golden.write(images, images[:, 0, 0, :10]))
    assert ("would take too much" in reason(folder)) is (batch == 1000)


def test_a_static_batch_is_bounded_too(tmp_path):
    made = with_nodes(
        FLAT, DENSE, inputs=[value("images", (10**6, 1, 32, 32))],
        outputs=[value("logits", (10**6, 10))],
    )  # fmt: skip
    folder = write(tmp_path / "a", made)
    for name in ("inputs", "outputs"):
        edit_manifest(folder, lambda d, name=name: d[name][0]["shape"].__setitem__(0, 10**6))
    assert "of up to 1000000 images, would take too much" in reason(folder)


def test_a_changed_weight_is_found_where_parity_cannot_see_it(tmp_path):
    folder = write_dense(tmp_path / "a")
    weights = WEIGHTS.copy()
    weights[0, 0] = np.nextafter(weights[0, 0], np.float32(9))  # a corner that no digit reaches
    made = onnx.ModelProto.FromString(RIGHT)
    made.graph.initializer[0].raw_data = weights.tobytes()
    replace_file(folder, "model.onnx", made.SerializeToString())
    with pytest.raises(ArtifactError, match=r"its weights have the SHA-256 .*, and the network's"):
        lenet_runtime.load(folder)
    lenet_runtime.load(folder, trust=True).close()  # the self-test passes
    edit_manifest(folder, lambda d: d.update(weights_sha256=weights_sha256(weights)))
    lenet_runtime.load(folder).close()  # who writes the folder writes the manifest, too


def test_who_wrote_it_needs_no_trust_for_any_graph(tmp_path, monkeypatch):
    monkeypatch.setattr(trust, "_written", set())
    made = with_nodes(FLAT, node("MatMul", ["flat", "weights"], ["logits"]))
    folder = write(tmp_path / "a", made)
    with pytest.raises(ArtifactError, match=r"Softmax, found 'MatMul'; .*pass trust=True"):
        lenet_runtime.load(folder)
    lenet_runtime.load(folder, trust=True).close()
    trust.remember(Artifact.open(folder))
    lenet_runtime.load(folder).close()


# ---- the reader


def test_what_protobuf_reads_is_compared_whole():
    """The oracle of the fuzzer can fail."""
    made = onnx.ModelProto.FromString(RIGHT)
    assert onnx_models.same(messages.read(RIGHT), made)
    made.graph.node[1].input[0] = "other"
    assert not onnx_models.same(messages.read(RIGHT), made)
    made = onnx.ModelProto.FromString(RIGHT)
    made.domain = "more"
    assert not onnx_models.same(messages.read(RIGHT), made)


def test_changed_graphs_end_in_a_typed_error_or_a_right_answer(onnx_artifact, tmp_path):
    """A few of what `make fuzz` tries; each kind of end is among them."""
    (tmp_path / "onnx").symlink_to(onnx_artifact.path)
    words, found = set(), []
    with onnx_models.graphs(tmp_path, tmp_path) as case:
        for number in range(200):
            draw = Draw("graphs", 0, number, lambda text: None)
            found += worker.faults(case, draw, 2, 200, lambda kind, word: words.add(word))
    assert not found
    assert words == {"refused", "right", "unchanged", "other weights, by the manifest as well"}


@pytest.mark.parametrize("length", range(0, 120))
def test_a_model_that_was_cut_off_is_no_model(length):
    with pytest.raises(ValueError, match=r"."):
        messages.read(RIGHT[:length])
