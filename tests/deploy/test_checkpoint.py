"""Checkpoints: what is whole is loaded, all else is refused with one clear message."""

import contextlib
import hashlib
import json
import pickle
from importlib.resources import files
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import python
from samples import Payload

from lenet_deploy.training import checkpoint
from lenet_deploy.training.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from lenet_deploy.training.model import Net
from lenet_runtime.errors import ArtifactError
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch

# Warnings of torch about files that the tests damage.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Detected pickle protocol"),
    pytest.mark.filterwarnings("ignore:Validating sparse tensor"),
]
CARD = {"preprocessing": {"mean": 0.5, "std": 0.5, "padding": 2}}
KINDS = [".safetensors", ".pt", ".pth", ".old.pt"]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


many_files = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def same(net: Net, other: Net) -> bool:
    mine, theirs = net.state_dict(), other.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def write(net: Net, folder: Path, kind: str) -> Path:
    """Write `net` in one of `KINDS`: safetensors, or a state dict in torch's formats."""
    path = folder / f"a{kind}"
    if kind == ".safetensors":
        save_checkpoint(net, path, CARD)
    else:
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=kind != ".old.pt")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_is_loaded_in_eval_mode(net, tmp_path, kind):
    loaded = load_checkpoint(write(net, tmp_path, kind))
    assert same(net, loaded)
    assert not loaded.training


def test_equal_weights_and_cards_give_equal_bytes(net, tmp_path):
    first = save_checkpoint(net, tmp_path / "a.safetensors", CARD)
    assert save_checkpoint(net, tmp_path / "b.safetensors", CARD) == first
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_card_travels_in_the_file_and_lies_beside_it(net, tmp_path):
    digest = save_checkpoint(net, tmp_path / "a.safetensors", CARD)
    beside = json.loads((tmp_path / "a.json").read_text())
    assert beside == {"file": "a.safetensors", "sha256": digest, **CARD}
    (tmp_path / "a.json").unlink()
    assert read_checkpoint(tmp_path / "a.safetensors")[1] == CARD


def test_a_card_beside_a_state_dict_is_read(net, tmp_path):
    path = write(net, tmp_path, ".pt")
    assert read_checkpoint(path)[1] == {}
    path.with_suffix(".json").write_text(json.dumps(CARD))
    assert read_checkpoint(path)[1] == CARD


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "\x00",
        '{"preprocessing": 3}',
        '{"preprocessing": [1]}',
        '{"preprocessing": null}',
        '{"preprocessing": {"gamma": 1}}',
        '{"preprocessing": {"std": 0}}',
        '{"preprocessing": {"mean": "0.5"}}',
        "[" * 100_000,
    ],
)
def test_a_card_that_makes_no_sense_is_refused(net, tmp_path, text):
    path = write(net, tmp_path, ".pt")
    path.with_suffix(".json").write_text(text)
    with pytest.raises(ArtifactError, match="expected a card"):
        read_checkpoint(path)


def test_a_whole_module_is_refused_and_the_safe_way_named(net, tmp_path):
    torch.save(net, tmp_path / "a.pt")
    with pytest.raises(ArtifactError, match=r"torch\.save\(net\.state_dict\(\), 'lenet\.pt'\)"):
        load_checkpoint(tmp_path / "a.pt")


def test_code_in_a_pickle_is_not_run(tmp_path):
    torch.save({"conv1.weight": Payload(tmp_path / "ran")}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(ArtifactError, match="not loaded, because unpickling runs"):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_every_fault_of_the_weights_is_in_one_message(net, tmp_path, suffix):
    weights = net.state_dict()
    del weights["conv1.bias"]
    weights["fc4.weight"] = torch.zeros(2, 3)
    weights["fc1.weight"] = torch.zeros(120, 400)  # LeNet-5 with 5x5 kernels has these
    weights["fc2.weight"] = weights["fc2.weight"].half()
    path = tmp_path / f"a{suffix}"
    (safetensors.torch.save_file if suffix == ".safetensors" else torch.save)(dict(weights), path)
    with pytest.raises(ArtifactError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert "conv1.bias: expected float32 (6,), found none" in message
    assert "fc4.weight: expected none, found float32 (2, 3)" in message
    assert "fc1.weight: expected float32 (120, 576), found float32 (120, 400)" in message
    assert "fc2.weight: expected float32 (84, 120), found float16 (84, 120)" in message
    assert message.count("expected") == 4


@pytest.mark.parametrize(
    "odd",
    [
        "text",
        None,
        3.0,
        torch.zeros(10).to_sparse(),
        torch.zeros(10, device="meta"),
        torch.zeros(10, dtype=torch.complex64),
    ],
    ids=["text", "none", "number", "sparse", "meta", "complex"],
)
def test_what_is_no_plain_tensor_is_refused(net, tmp_path, odd):
    torch.save({**net.state_dict(), "fc3.bias": odd}, tmp_path / "a.pt")
    with pytest.raises(ArtifactError, match=r"fc3\.bias: expected float32 \(10,\), found"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("thing", [[1, 2], torch.zeros(3), "text"])
def test_what_is_no_dict_is_refused(tmp_path, thing):
    torch.save(thing, tmp_path / "a.pt")
    with pytest.raises(ArtifactError, match="expected a state dict, found"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_named_and_neither_loaded_nor_saved(net, tmp_path, value):
    with torch.no_grad():
        net.fc2.bias[3] = value
        net.conv1.weight[0, 0, 0, 0] = value
    path = write(net, tmp_path, ".pt")
    with pytest.raises(ArtifactError, match=r"found NaN or infinity in conv1\.weight, fc2\.bias"):
        load_checkpoint(path)
    with pytest.raises(ArtifactError, match="NaN or infinity"):
        save_checkpoint(net, tmp_path / "b.safetensors", CARD)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("kind", [".safetensors", ".pt"])
def test_a_file_cut_off_anywhere_is_refused(net, tmp_path, kind):
    path = write(net, tmp_path, kind)
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


@pytest.mark.parametrize("kind", [".safetensors", ".pt"])
def test_a_deeply_nested_card_is_refused(net, tmp_path, kind):
    path = write(net, tmp_path, ".pt")
    if kind == ".pt":
        path.with_suffix(".json").write_bytes(DEEP)
    else:
        path = tmp_path / "a.safetensors"
        safetensors.torch.save_file(net.state_dict(), path, {"card": DEEP.decode()})
    with pytest.raises(ArtifactError, match="expected a card that is a JSON object"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.json"])
def test_what_is_far_too_large_is_refused_before_it_is_in_memory(net, tmp_path, name):
    path = write(net, tmp_path, ".pt")
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ArtifactError, match="found more than 67108864 bytes"):
        read_checkpoint(path if name == "a.json" else tmp_path / name)


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
def test_flipped_bytes_are_an_error_of_ours_or_harmless(net, tmp_path, kind, flips):
    path = write(net, tmp_path, kind)
    content = bytearray(path.read_bytes())
    for place, value in flips:
        content[place] = value
    path.write_bytes(content)
    with contextlib.suppress(ArtifactError):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "found"),
    [("none.pt", "no file"), ("folder.pt", "a folder"), ("a.onnx", r"'\.onnx'"), ("a", "suffix")],
)
def test_a_path_that_is_no_checkpoint_is_refused(tmp_path, name, found):
    (tmp_path / "folder.pt").mkdir()
    for function in (load_checkpoint, read_checkpoint):
        with pytest.raises(ArtifactError, match=f"expected a checkpoint.*found {found}|no suffix"):
            function(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_came_in_place_of_a_checkpoint_is_named(tmp_path, suffix):
    path = tmp_path / f"lenet{suffix}"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ArtifactError, match=r"expected a checkpoint; .* git lfs pull"):
        load_checkpoint(path)


def test_the_bundled_checkpoint_loads_and_its_card_names_these_very_bytes():
    folder = files("lenet_deploy") / "bundled"
    beside = json.loads((folder / "lenet.json").read_text())
    digest = hashlib.sha256((folder / checkpoint.BUNDLED).read_bytes()).hexdigest()
    card = read_checkpoint()[1]
    assert beside == {"file": "lenet.safetensors", "sha256": digest, **card}
    assert card["accuracy"]["test"]["accuracy"] >= 0.995
    assert card["data"]["digits"] == 60_000
    assert not load_checkpoint().training


def test_the_bundled_checkpoint_knows_the_bundled_digits():
    digits, (net, card) = load_digits(), read_checkpoint()
    x = torch.from_numpy(to_batch(digits.images, Preprocessing(**card["preprocessing"])))
    with torch.inference_mode():
        right = net(x).argmax(dim=1).numpy() == digits.labels
    assert right.sum() >= 59


def test_importing_the_module_seeds_and_reads_nothing():
    """A service that only imports it must pay for no file and keep its random numbers."""
    code = (
        "import torch; torch.manual_seed(7); before = torch.random.get_rng_state()\n"
        "import lenet_deploy.training.checkpoint\n"
        "assert torch.equal(before, torch.random.get_rng_state())"
    )
    python(code)
