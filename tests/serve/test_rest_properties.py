"""V2's REST bodies by chance: what is written is read the same, and nothing is our fault."""

import contextlib
import json

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from lenet_serve import (
    Code,
    InferRequest,
    InferResponse,
    Limits,
    Model,
    Recorder,
    ServeError,
    Service,
    Tensor,
)  # fmt: skip
from lenet_serve.protocol import rest
from lenet_serve.protocol.infer import DTYPES


def decode(body, header=None):
    return rest.decode("lenet", "", body, header, Limits())


ARRAYS = st.sampled_from(sorted(set(DTYPES) - {"FP16", "BOOL"})).flatmap(
    lambda datatype: st.tuples(
        st.just(datatype),
        st.lists(st.integers(0, 3), min_size=1, max_size=4),
        st.integers(0, 2**32),
    )
)


@settings(max_examples=100, deadline=None)
@given(ARRAYS, st.booleans(), st.text(max_size=9))
def test_what_is_encoded_is_decoded_the_same(case, as_binary, name):
    datatype, shape, seed = case
    dtype = DTYPES[datatype]
    raw = np.random.default_rng(seed).bytes(int(np.prod(shape)) * dtype.itemsize)
    data = np.frombuffer(raw, dtype).reshape(shape).copy()
    if dtype.kind == "f":
        data[~np.isfinite(data)] = 0
    tensor = Tensor(name, datatype, data.shape, data)
    asked = InferRequest("lenet", binary=as_binary)
    headers, body = rest.encode(InferResponse("lenet", "1", name, [tensor]), asked)
    # The answer as a request: its outputs become inputs.
    length = dict(headers).get(b"inference-header-content-length", str(len(body)).encode())
    document = orjson.loads(body[: int(length)])
    document["inputs"] = document.pop("outputs")
    text = orjson.dumps(document)
    read = decode(text + body[int(length) :], str(len(text)) if as_binary else None)
    assert (read.id, read.inputs[0].name) == (name, name)
    assert read.inputs[0].data.dtype == dtype
    assert np.array_equal(read.inputs[0].data, data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.none() | st.text(max_size=6) | st.integers(0, 99).map(str))
def test_any_bytes_are_read_or_refused(body, header):
    with contextlib.suppress(ServeError):  # and no other
        decode(body, header)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["inputs", "outputs", "id", "parameters", "name", "shape", "datatype",
                         "data", "binary_data_size", "classification"]),
        inner, max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip
PART = st.fixed_dictionaries(
    {"name": st.just("x"), "shape": JSON, "datatype": st.sampled_from([*DTYPES, "BYTES", ""]),
     "data": JSON},
    optional={"parameters": JSON},
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    JSON | st.fixed_dictionaries({"inputs": st.lists(PART, max_size=2)}, optional={"outputs": JSON})
)
def test_any_json_is_read_or_refused(document):
    with contextlib.suppress(ServeError):  # and no other
        decode(json.dumps(document).encode())


SHAPES = st.sampled_from([(1, 1, 32, 32), (2, 28, 28), (1,), (1, 1), (3, 784), (1, 1024), (), (0,)])
VALUES = st.sampled_from([0, 1, 255, 256, -1, 0.5, 1e39, True, None, "a", "iVBORw0KGgo", [], {}])


@st.composite
def almost_requests(draw):
    """A request as the model takes it, but for what chance changed."""
    shape = draw(SHAPES)
    tensor = {
        "name": draw(st.sampled_from(["images", "pixels", "file", "x"])),
        "datatype": draw(st.sampled_from(["FP32", "UINT8", "BYTES", "FP64", "BOOL"])),
        "shape": shape,
        "data": [draw(VALUES)] * int(np.prod(shape)),
    }
    names = st.sampled_from(["logits", "probabilities", "labels", "x"])
    parameters = st.dictionaries(
        st.sampled_from(["classification", "binary_data", "content_type"]), VALUES, max_size=1
    )
    outputs = [
        {"name": name, "parameters": draw(parameters)} for name in draw(st.lists(names, max_size=2))
    ]
    return {"inputs": [tensor], "outputs": outputs}


@settings(max_examples=150, deadline=None)
@given(almost_requests())
def test_any_request_is_answered_or_refused_and_is_never_our_fault(native_session, document):
    service = Service([Model("lenet", "1", native_session)], metrics=Recorder())
    try:
        request = rest.decode("lenet", "", json.dumps(document).encode(), None, Limits())
        _, body = rest.encode(service.infer(request), request)
    except ServeError as error:
        code = error.code
    else:
        code = None
        assert body.startswith(b'{"model_name":"lenet"')
    assert code in (None, Code.MALFORMED)
