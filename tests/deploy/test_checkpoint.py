"""Checkpoints: what was saved is loaded, with its card; the bundled one is what it says."""

import hashlib
import json
from importlib.resources import files

import pytest
import torch
from checkpoint_files import CARD, KINDS, same, write
from processes import python

from lenet_deploy.training import checkpoint
from lenet_deploy.training.checkpoint import (
    load_checkpoint,
    load_network,
    read_checkpoint,
    save_checkpoint,
)
from lenet_runtime.errors import ArtifactError
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_is_loaded_in_eval_mode(fresh_net, tmp_path, kind):
    loaded = load_checkpoint(write(fresh_net, tmp_path, kind))
    assert same(fresh_net, loaded)
    assert not loaded.training


def test_equal_weights_and_cards_give_equal_bytes(fresh_net, tmp_path):
    first = save_checkpoint(fresh_net, tmp_path / "a.safetensors", CARD)
    assert save_checkpoint(fresh_net, tmp_path / "b.safetensors", CARD) == first
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_card_travels_in_the_file_and_lies_beside_it(fresh_net, tmp_path):
    digest = save_checkpoint(fresh_net, tmp_path / "a.safetensors", CARD)
    beside = json.loads((tmp_path / "a.json").read_text())
    assert beside == {"file": "a.safetensors", "sha256": digest, **CARD}
    (tmp_path / "a.json").unlink()
    assert read_checkpoint(tmp_path / "a.safetensors")[1] == CARD


def beside(path, **entries):
    """Write the JSON beside a checkpoint as `save_checkpoint` does."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    card = {"file": path.name, "sha256": digest, **entries}
    path.with_suffix(".json").write_text(json.dumps(card))
    return card


def test_a_card_beside_a_state_dict_is_read_if_it_is_of_these_very_bytes(fresh_net, tmp_path):
    path = write(fresh_net, tmp_path, ".pt")
    assert read_checkpoint(path)[1] == {}
    assert read_checkpoint(path)[1] == {} != beside(path, **CARD)
    assert load_network(path).preprocessing == Preprocessing(**CARD["preprocessing"])
    path.with_suffix(".json").write_text(json.dumps(CARD))
    assert read_checkpoint(path)[1] == {}


@pytest.mark.parametrize(
    "text",
    [
        '[{"epoch": 1, "loss": 0.3}]',
        "{",
        "",
        "3",
        "\x00",
        '{"preprocessing": {"std": 0}}',
        '{"file": "a.pt", "sha256": "0", "preprocessing": {"std": 0}}',
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_a_json_that_is_no_card_of_ours_is_ignored(fresh_net, tmp_path, text):
    path = write(fresh_net, tmp_path, ".pt")
    path.with_suffix(".json").write_text(text)
    assert load_network(path).card == {}


def test_a_json_that_cannot_be_read_or_has_no_end_is_ignored(fresh_net, tmp_path):
    path = write(fresh_net, tmp_path, ".pt")
    path.with_suffix(".json").mkdir()
    assert load_network(path).card == {}
    path.with_suffix(".json").rmdir()
    with path.with_suffix(".json").open("wb") as file:
        file.truncate(2**40)
    assert load_network(path).card == {}


@pytest.mark.parametrize(
    "preprocessing", [3, [1], None, {"gamma": 1}, {"std": 0}, {"mean": "0.5"}], ids=str
)
def test_a_card_of_ours_that_makes_no_sense_is_refused_by_its_own_name(
    fresh_net, tmp_path, preprocessing
):
    path = write(fresh_net, tmp_path, ".pt")
    beside(path, preprocessing=preprocessing)
    with pytest.raises(ArtifactError, match=r"a\.json: expected a card"):
        read_checkpoint(path)


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
