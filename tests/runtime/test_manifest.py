"""The manifest: what is not declared, or not this network, is refused."""

import copy
import json

import pytest
from artifact_files import DOCUMENT, MANIFEST, OBJECTS, at, changed, make_manifest, read
from hypothesis import example, given
from hypothesis import strategies as st

from lenet_runtime.artifact import FileEntry, Requirements, TensorSpec
from lenet_runtime.errors import ArtifactError
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.parity import Comparison, ParityReport, Tolerance

TEXT = st.text(max_size=8)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
MAYBE = st.none() | FINITE
BATCH = st.none() | st.integers(1, 2**40)
MANIFESTS = st.builds(
    lambda batch, **fields: make_manifest(
        batch=batch,
        inputs=(TensorSpec(fields.pop("input"), "float32", (batch, 1, 32, 32)),),
        **fields,
    ),
    batch=BATCH,
    input=TEXT,
    format=TEXT,
    precision=TEXT,
    kernels=st.dictionaries(TEXT, st.lists(TEXT, min_size=1).map(tuple)),
    preprocessing=st.builds(
        Preprocessing, st.floats(-1e30, 1e30), st.floats(1e-30, 1e30), st.integers(0, 15)
    ),
    labels=st.lists(TEXT, min_size=10, max_size=10, unique=True).map(tuple),
    files=st.dictionaries(
        st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True),
        st.builds(FileEntry, TEXT, st.integers()),
    ),
    requirements=st.builds(
        Requirements,
        TEXT,
        TEXT,
        TEXT,
        st.lists(TEXT).map(tuple),
        st.none() | TEXT,
        st.lists(FINITE).map(tuple),
        st.booleans(),
        st.sampled_from([(), (1, 1, 1), (1, 64, 1024)]),
    ),
    tools=st.dictionaries(TEXT, TEXT),
    parity=st.builds(
        ParityReport,
        TEXT,
        st.builds(Tolerance, st.floats(1e-9, 1), *[st.floats(0, 1)] * 3),
        st.lists(
            st.builds(Comparison, TEXT, st.integers(), MAYBE, MAYBE, MAYBE, MAYBE, MAYBE, TEXT)
        ).map(tuple),
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def places(value, path=()):
    """The path of every node of a JSON document but its root."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


PLACES = list(places(DOCUMENT))


@given(MANIFESTS)
@example(MANIFEST)
def test_every_manifest_round_trips(manifest):
    assert read(manifest.to_bytes()) == manifest
    assert read(manifest.to_bytes()).to_bytes() == manifest.to_bytes()


@given(st.binary(max_size=60))
def test_bytes_that_are_no_manifest_are_refused(data):
    with pytest.raises(ArtifactError):
        read(data)


@given(st.sampled_from(PLACES), JSON)
def test_any_change_is_refused_or_kept(path, value):
    """A manifest that is accepted says what the file says, and nothing else escapes."""
    document = changed(path, value)
    try:
        manifest = read(document)
    except ArtifactError:
        return
    assert json.loads(manifest.to_bytes()) == document


@pytest.mark.parametrize("path", OBJECTS, ids=str)
def test_a_key_that_is_not_declared_is_refused(path):
    with pytest.raises(ArtifactError, match=r"unknown keys \['extra'\]"):
        read(changed((*path, "extra"), 1))


@pytest.mark.parametrize("path", OBJECTS, ids=str)
def test_a_missing_key_is_refused(path):
    """Also where the dataclass has a default: nobody's mean becomes MNIST's."""
    for key in at(path, DOCUMENT):
        document = copy.deepcopy(DOCUMENT)
        del at(path, document)[key]
        with pytest.raises(ArtifactError, match=r"schema_version|missing keys"):
            read(document)


@pytest.mark.parametrize("version", [0, 1, 2, 3, -1, None, "1", 1.0, True, [1], 10**100])
def test_another_schema_version_is_refused(version):
    with pytest.raises(ArtifactError, match="schema_version"):
        read(changed(("schema_version",), version))


def test_a_schema_that_is_not_ours_is_named_before_its_fields_are():
    """Exporting again with the version that is here would not help."""
    with pytest.raises(ArtifactError, match="found 5, of a newer lenet-deploy"):
        read({"schema_version": 5, "something": "new"})


@pytest.mark.parametrize(
    ("format", "precision", "ending"),
    [
        ("native", "int8", r"again \(lenet-deploy export --format native --precision int8\)$"),
        ("native", "fp16", "again$"),
        (["native"], {}, "again$"),
    ],
)
def test_an_older_artifact_says_how_to_make_it_again(format, precision, ending):
    with pytest.raises(
        ArtifactError, match=f"found 3, of an older version; export the artifact {ending}"
    ):
        read({"schema_version": 3, "format": format, "precision": precision})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("profile", value) for value in ([1, 2], [0, 1, 2], [1, 3, 2], "1:2:3", None)),
        *(("compute_capability", value) for value in ("9.0", ["9.0"], None)),
        ("later_gpus", 1),
    ],
)
def test_requirements_are_numbers(field, value):
    with pytest.raises(ArtifactError, match=field):
        read(changed(("requirements", field), value))


@pytest.mark.parametrize("kernel", [[], "fp32", [1]])
def test_a_layers_kernel_begins_with_its_type(kernel):
    with pytest.raises(ArtifactError, match=r"kernels|type of each layer"):
        read(changed(("kernels",), {"conv1": kernel}))


SCALARS = [path for path in PLACES if not isinstance(at(path, DOCUMENT), dict | list)]


@pytest.mark.parametrize("path", SCALARS, ids=str)
def test_a_wrong_type_is_refused_everywhere(path):
    right = at(path, DOCUMENT)
    for wrong in (True, False, "1", 1.5, [], {}):
        if type(wrong) is not type(right) and not (right is None and wrong == "1"):
            with pytest.raises(ArtifactError):
                read(changed(path, wrong))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("inputs",), []),
        (("inputs",), DOCUMENT["inputs"] * 2),
        (("outputs",), DOCUMENT["outputs"] * 2),
        (("inputs", 0, "dtype"), "float64"),
        (("inputs", 0, "dtype"), ">f4"),
        (("outputs", 0, "dtype"), "int64"),
        (("inputs", 0, "shape"), []),
        (("inputs", 0, "shape"), [None, 32, 32]),
        (("inputs", 0, "shape"), [None, 2, 32, 32]),
        (("inputs", 0, "shape"), [None, 1, None, 32]),
        (("inputs", 0, "shape"), [4, 1, 32, 32]),
        (("outputs", 0, "shape"), [4, 10]),
        (("outputs", 0, "shape"), [None, 11]),
        (("outputs", 0, "shape"), [None]),
        (("labels",), list("012345678")),
        (("labels",), list("0123456788")),
        (("labels",), [*"0123456789", "ten"]),
        (("preprocessing", "std"), 0),
        (("preprocessing", "std"), -1),
        (("preprocessing", "padding"), 16),
        (("preprocessing", "padding"), -1),
        (("parity", "tolerance", "atol"), 0),
        (("parity", "tolerance", "rtol"), -1e-9),
    ],
    ids=str,
)
def test_what_is_not_this_network_is_refused(path, value):
    with pytest.raises(ArtifactError, match=r"expected|batch"):
        read(changed(path, value))


@pytest.mark.parametrize("size", [0, -1, True])
def test_a_static_batch_below_one_is_refused(size):
    document = changed(("inputs", 0, "shape"), [size, 1, 32, 32])
    document["outputs"][0]["shape"] = [size, 10]
    with pytest.raises(ArtifactError):
        read(document)


def test_a_static_batch_is_told():
    assert read(make_manifest(batch=7).to_bytes()).batch_size == 7
    assert MANIFEST.batch_size is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../model.onnx",
        "/etc/passwd",
        "sub/model.onnx",
        "sub\\model.onnx",
        "C:model.onnx",
        ".hidden",
        "..model",
        "model\n.onnx",
        "model\0.onnx",
        "model\x1b[2J",
        "model\x7f",
        "modèle.onnx",
        "model\u202e.onnx",
        "\ud800",
    ],
    ids=repr,
)
def test_a_file_name_that_is_not_plain_is_refused(name):
    document = changed(("files", name), {"sha256": "0" * 64, "size": 1})
    with pytest.raises(
        ArtifactError, match=r"manifest\.json: not a manifest \(file name"
    ) as caught:
        read(document)
    assert str(caught.value).isprintable()


def test_an_integer_may_stand_for_a_float_but_not_the_other_way_round():
    assert read(changed(("preprocessing", "mean"), 0)).preprocessing.mean == 0.0
    assert type(read(changed(("preprocessing", "mean"), 0)).preprocessing.mean) is float
    with pytest.raises(ArtifactError):
        read(changed(("preprocessing", "mean"), 2**53))  # beyond it, a float would round
    with pytest.raises(ArtifactError):
        read(changed(("files", "golden.npz", "size"), 6.0))
