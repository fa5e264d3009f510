"""Checkpoints that are damaged, hostile or too large: one clear error, and no code is run."""

import contextlib
import io
import json
import pickle
import zipfile
from collections import OrderedDict

import pytest
import safetensors.torch
import torch
from checkpoint_files import CARD, same, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import Payload

from lenet_deploy.training.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from lenet_runtime.errors import ArtifactError

many_files = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_named_and_neither_loaded_nor_saved(
    fresh_net, tmp_path, value
):
    with torch.no_grad():
        fresh_net.fc2.bias[3] = value
        fresh_net.conv1.weight[0, 0, 0, 0] = value
    path = write(fresh_net, tmp_path, ".pt")
    with pytest.raises(ArtifactError, match=r"found NaN or infinity in conv1\.weight, fc2\.bias"):
        load_checkpoint(path)
    with pytest.raises(ArtifactError, match="NaN or infinity"):
        save_checkpoint(fresh_net, tmp_path / "b.safetensors", CARD)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("kind", [".safetensors", ".pt"])
def test_a_file_cut_off_anywhere_is_refused(fresh_net, tmp_path, kind):
    path = write(fresh_net, tmp_path, kind)
    whole = path.read_bytes()
    for kept in [0, 1, 7, 8, 9, 100, 1000, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:kept])
        with pytest.raises(ArtifactError):
            load_checkpoint(path)


DEEP = b'{"a":' * 100_000
HOSTILE = {
    "deep header": DEEP,
    "deep array": b"[" * 100_000,
    "deep metadata": b'{"__metadata__":' + DEEP,
    "metadata of a list": b'{"__metadata__":[]}',
    "header of a list": b"[]",
    "no header": b"null",
    "not UTF-8": b"\xff\xfe{}",
    "huge number": b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,0]}}',
    "huge shape": b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}',
    "overlap": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}',
    "far": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}}',
    "names": json.dumps({"\x1b[2J\ud800": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}),
}


@pytest.mark.parametrize("header", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_safetensors_header_is_refused(tmp_path, header):
    header = header.encode() if isinstance(header, str) else header
    for length in (len(header), 2**64 - 1, 2**63):
        (tmp_path / "a.safetensors").write_bytes(length.to_bytes(8, "little") + header)
        with pytest.raises(ArtifactError) as caught:
            read_checkpoint(tmp_path / "a.safetensors")
        assert str(caught.value).replace("\n", "").isprintable()
        assert len(str(caught.value)) <= 4000


def test_a_deeply_nested_card_is_refused(fresh_net, tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(fresh_net.state_dict(), path, {"card": DEEP.decode()})
    with pytest.raises(ArtifactError, match="expected a card that is a JSON object"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a"])
def test_what_is_far_too_large_is_refused_before_it_is_in_memory(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ArtifactError, match="found more than 67108864 bytes"):
        read_checkpoint(tmp_path / name)


def repacked(data, change=lambda name, content: content, compression=zipfile.ZIP_STORED):
    """torch's archive written anew, each entry by `change`."""
    source, buffer = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
    return buffer.getvalue()


def test_an_archive_that_is_larger_once_unpacked_is_refused(fresh_net, tmp_path):
    """A few kilobytes could otherwise fill the memory."""
    path = write(fresh_net, tmp_path, ".pt")
    data = repacked(
        path.read_bytes(),
        lambda name, content: bytes(2**20) if name.endswith("data/0") else content,
        zipfile.ZIP_DEFLATED,
    )
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="found one that is compressed"):
        load_checkpoint(path)


def test_tensors_that_are_larger_than_their_file_are_refused(fresh_net, tmp_path):
    """A stride of 0 makes one number as many as one likes."""
    weights = {**fresh_net.state_dict(), "fc4.weight": torch.zeros(1).expand(2**15, 2**15)}
    torch.save(weights, tmp_path / "a.pt")
    with pytest.raises(ArtifactError, match="expected tensors of at most 67108864 bytes"):
        load_checkpoint(tmp_path / "a.pt")


def test_a_pickle_that_is_far_too_long_is_refused(tmp_path):
    torch.save({"a": list(range(1_000_000))}, tmp_path / "a.pt")
    with pytest.raises(ArtifactError, match="a pickle of more than 500000 steps"):
        load_checkpoint(tmp_path / "a.pt")


class Evaluates:
    """Calls `eval` where somebody unpickles it."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return eval, (f"__import__('os').mkdir({str(self.proof)!r})",)


@pytest.mark.parametrize("payload", [Payload, Evaluates])
@pytest.mark.parametrize("place", ["conv1.weight", "epoch", None])
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_that_calls_code_is_refused_and_not_run(
    fresh_net, tmp_path, payload, place, is_zip
):
    bomb = payload(tmp_path / "ran")
    content = {**fresh_net.state_dict(), place: bomb} if place else bomb
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=is_zip)
    with pytest.raises(ArtifactError, match=r"a pickle that calls .* as an attack does"):
        load_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()


def test_a_plain_pickle_is_refused_and_not_run(tmp_path):
    (tmp_path / "a.pt").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(ArtifactError, match=r"a pickle that torch\.save did not write"):
        load_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()


class Hides(dict):
    """An OrderedDict whose methods are hidden by numbers."""

    def __reduce__(self):
        names = dict.fromkeys(("items", "keys", "values", "get"), 3)
        return OrderedDict, (), names, None, iter(dict.items(self))


def test_attributes_that_hide_a_dict_s_methods_do_no_harm(fresh_net, tmp_path):
    torch.save({"model": Hides(fresh_net.state_dict())}, tmp_path / "a.pt")
    assert same(load_checkpoint(tmp_path / "a.pt"), fresh_net)


@many_files
@given(st.binary(max_size=200), st.sampled_from([".safetensors", ".pt"]))
def test_no_garbage_gets_past_as_anything_but_our_error(tmp_path, garbage, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(garbage)
    with pytest.raises(ArtifactError):
        load_checkpoint(path)


@many_files
@given(
    st.sampled_from([".safetensors", ".pt", ".old.pt"]),
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_flipped_bytes_are_an_error_of_ours_or_harmless(fresh_net, tmp_path, kind, flips):
    path = write(fresh_net, tmp_path, kind)
    content = bytearray(path.read_bytes())
    for place, value in flips:
        content[place] = value
    path.write_bytes(content)
    with contextlib.suppress(ArtifactError):
        load_checkpoint(path)
