"""Checkpoints: files of a network's weights, with a card that describes them.

The format is safetensors, which holds numbers and no code. The card (hyper-parameters, data,
preprocessing, accuracy, versions) is in the header of the same file, so that one rename replaces
both and they never mix; ``<name>.json`` beside the file is a copy for people. What `torch.save`
writes is read as well, in its many wrappings; no code in any file is run.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import safetensors.torch
from torch import nn

from lenet_deploy.training import custom, family, inference, weights_file
from lenet_deploy.training.family import SEED, Architecture, LeNet, named_as_usual
from lenet_deploy.training.layer_order import CannotInfer
from lenet_deploy.training.model import Net
from lenet_deploy.training.unwrap import Unwrapped, few, require_finite, unwrap
from lenet_runtime.artifact.files import write_atomically
from lenet_runtime.errors import ArtifactError, InputError
from lenet_runtime.images.preprocess import Preprocessing

BUNDLED = "lenet.safetensors"
_MOST_CARD_BYTES = 2**20
_DIGIT = 28  # height and width of MNIST's digits


@dataclass(frozen=True)
class Loaded:
    """A network with trained weights, and what its weights do not say.

    Attributes:
        module: In eval mode on the CPU: `Net`, a `LeNet` of the family, or what ``--model`` names.
        input_shape: Channels, height and width of an image.
        preprocessing: How pixels become its input.
        labels: Class of each logit.
        notes: What was done to the weights, and what was inferred and assumed, a line each.
        card: How it was trained; empty for a checkpoint that the toolkit did not write.
    """

    module: nn.Module
    input_shape: tuple[int, int, int]
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        """What `lenet_export.export` is told about the module."""
        return {
            "input_shape": self.input_shape,
            "preprocessing": self.preprocessing,
            "labels": self.labels,
        }


def load_network(
    path: Path | None = None,
    *,
    model: str | None = None,
    activation: str | None = None,
    pooling: str | None = None,
    input_size: tuple[int, int] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    labels: Sequence[str] | None = None,
) -> Loaded:
    """Read a network of the LeNet family from a checkpoint.

    Args:
        path: The checkpoint; None for the bundled one.
        model: ``FILE.py:ClassName`` or ``package.module:Class``, code that is run to build the
            network; None to infer it from the weights.
        activation: A key of `family.ACTIVATIONS`; None for ReLU.
        pooling: A key of `family.POOLINGS`; None for max.
        input_size: Height and width of an image; None for what the weights fit.
        mean: Of pixels in [0, 1], one number or one for each channel; None for the card's, or
            MNIST's.
        std: Likewise.
        labels: Class of each logit; None for "0", "1" and so on.

    Raises:
        ArtifactError: The file is missing or damaged, holds code, or its weights do not say which
            network they are of.
        InputError: An option is wrong, or the code of `model` fails.
    """
    _check_choice("activation", activation, family.ACTIVATIONS)
    _check_choice("pooling", pooling, family.POOLINGS)
    data, where = _read(path), _where(path)
    unwrapped = unwrap(weights_file.decode(data, where), where)
    card = _card(path, data)
    notes = [f"{where}: {'; '.join(unwrapped.steps)}"] if unwrapped.steps else []
    assumed = []
    if model is not None:
        if activation or pooling:
            raise InputError("--activation, --pooling: the code of --model says these; drop them")
        module = custom.build(model)
        custom.load(module, unwrapped, where)
        shape, classes = custom.shapes(module, input_size)
    else:
        inferred = _infer(
            unwrapped, where, ordered=not weights_file.is_safetensors(data),
            input_size=input_size, activation=activation or "relu", pooling=pooling or "max",
        )  # fmt: skip
        network = inferred.architecture
        module, renamed = _built(network, unwrapped, where)
        shape, classes = network.input_shape, network.classes
        notes += [f"inferred: {network}{renamed}"]
        notes += [] if isinstance(module, Net) else inference.other_sizes(inferred)
        assumed += ["ReLU (--activation)"] * (activation is None)
        assumed += ["max pooling (--pooling)"] * (pooling is None)
        assumed += [
            f"batch norm before the activation, its eps {family.NORM_EPS}"
        ] * network.has_norms
    pixels = _preprocessing(card, shape, mean, std, where)
    assumed += [f"mean {pixels.mean} (--mean)"] * (mean is None)
    assumed += [f"std {pixels.std} (--std)"] * (std is None)
    notes += [f"assumed, for weights do not say: {', '.join(assumed)}"] if assumed else []
    return Loaded(
        module.eval(), shape, pixels, _labels(labels, classes), () if card else tuple(notes), card
    )


def _check_choice(name: str, value: str | None, known: Iterable[str]) -> None:
    if value is not None and value not in known:
        raise InputError(f"--{name}: expected {', '.join(known)}, found {value!r}")


def load_checkpoint(path: Path | None = None) -> Net:
    """Read the weights of `Net` from `path`, or the bundled ones, in eval mode on the CPU.

    Raises:
        ArtifactError: the file is missing or damaged, is not a checkpoint of `Net`, holds code, or
            holds weights that are not finite. No code in it was run.
    """
    return read_checkpoint(path)[0]


def read_checkpoint(path: Path | None = None) -> tuple[Net, dict[str, Any]]:
    """Read the weights as `load_checkpoint` does, and the card; an absent card is empty.

    Raises:
        ArtifactError: the weights cannot be read, or the card is not a JSON object with valid
            preprocessing numbers.
    """
    loaded = load_network(path)
    if not isinstance(loaded.module, Net):
        raise ArtifactError(
            f"{_where(path)}: expected weights of lenet_deploy.Net, found another network; "
            f"{'; '.join(loaded.notes)}; read it with load_network"
        )
    return loaded.module, loaded.card


def _infer(unwrapped: Unwrapped, where: str, **options: Any) -> inference.Inferred:
    try:
        return inference.infer(unwrapped.weights, **options)
    except CannotInfer as error:
        raise ArtifactError(f"{where}: {error}") from error


def _built(architecture: Architecture, unwrapped: Unwrapped, where: str) -> tuple[nn.Module, str]:
    """The module with the weights; and what is to be said where its layers have other names."""
    plain, new_names = named_as_usual(architecture)
    module: nn.Module
    if plain == SEED:
        module = Net()
    else:
        try:
            module, new_names = LeNet(architecture), {}
        except (KeyError, ValueError):  # names that PyTorch cannot give
            module = LeNet(plain)
    weights = {}
    for name, tensor in family.fold(architecture, unwrapped.weights).items():
        layer, _, part = name.rpartition(".")
        weights[f"{new_names.get(layer, layer)}.{part}"] = tensor
    require_finite(weights, where)
    module.load_state_dict(weights)
    changed = any(old != new for old, new in new_names.items())
    return module, f"; named {few(list(new_names.values()), 9)}" if changed else ""


def _preprocessing(
    card: dict[str, Any],
    shape: tuple[int, int, int],
    mean: float | Sequence[float] | None,
    std: float | Sequence[float] | None,
    where: str,
) -> Preprocessing:
    """The card's numbers, or MNIST's, and the margin that makes digits as large as the input."""
    margin = max(0, min(shape[1:]) - _DIGIT) // 2
    given = {"mean": mean, "std": std}
    numbers = {"padding": margin} | card.get("preprocessing", {})
    numbers |= {name: number for name, number in given.items() if number is not None}
    try:
        return Preprocessing(**numbers)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: --mean, --std or the card: {error}") from error


def _labels(labels: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    if labels is None:
        return tuple(map(str, range(classes)))
    if len(labels) != classes or len(set(labels)) != classes:
        raise InputError(
            f"--labels: expected {classes} different names, one for each logit, found "
            f"{len(set(labels))}"
        )
    return tuple(labels)


def _card(path: Path | None, data: bytes) -> dict[str, Any]:
    """The card in the file's header; or beside it, where that is of these very bytes."""
    where = _where(path)
    if weights_file.is_safetensors(data):
        length = int.from_bytes(data[:8], "little")
        text = json.loads(data[8 : 8 + length]).get("__metadata__", {}).get("card") or "{}"
    else:
        assert path is not None
        where = str(path.with_suffix(".json"))
        text = _card_beside(path, data)
    try:
        card = json.loads(text)
        Preprocessing(**card.get("preprocessing", {}))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            f"{where}: expected a card that is a JSON object with sound preprocessing numbers, "
            f"found {text[:100]!r} ({error}); save the checkpoint again, or delete the card"
        ) from error
    return cast(dict[str, Any], card)


def _card_beside(path: Path, data: bytes) -> str:
    """The text of the JSON beside a checkpoint; an empty object where it is of something else."""
    try:
        with path.with_suffix(".json").open("rb") as file:
            text = file.read(_MOST_CARD_BYTES).decode()
        card = json.loads(text)
        is_ours = card["sha256"] == hashlib.sha256(data).hexdigest() and "file" in card
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return "{}"
    return text if is_ours else "{}"


def _where(path: Path | None) -> str:
    return "the bundled checkpoint" if path is None else str(path)


def save_checkpoint(net: Net, path: Path, card: dict[str, Any]) -> str:
    """Write the weights of `net` and `card` to `path`, and a copy of the card beside it.

    Each file is replaced atomically. Equal weights and cards give equal bytes. Returns the
    SHA-256 of the checkpoint.

    Raises:
        ArtifactError: the weights are not finite, so nothing was written.
    """
    weights = {name: tensor.detach().cpu() for name, tensor in net.state_dict().items()}
    check_weights(net, weights, str(path))
    data = safetensors.torch.save(weights, {"card": json.dumps(card, allow_nan=False)})
    digest = hashlib.sha256(data).hexdigest()
    copy = {"file": path.name, "sha256": digest, **card}
    write_atomically(path, data)
    write_atomically(path.with_suffix(".json"), json_bytes(copy))
    return digest


def json_bytes(document: dict[str, Any]) -> bytes:
    """Encode `document` as indented JSON with a final newline; NaN is refused."""
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()


def check_weights(net: Net, weights: dict[str, Any], where: str) -> None:
    """Compare `weights` with the tensors of `net`.

    Raises:
        ArtifactError: a tensor is missing, unknown, of another shape or dtype, or not finite.
    """
    unwrapped = unwrap(weights, where)
    faults = custom.differences(net.state_dict(), unwrapped.weights)
    if faults or unwrapped.steps:
        raise ArtifactError(f"{where}: not the weights of LeNet (lenet_deploy.Net): it {faults}")


def _read(path: Path | None) -> bytes:
    if path is None:
        return (files("lenet_deploy") / "bundled" / BUNDLED).read_bytes()
    if not path.is_file():
        raise ArtifactError(
            f"{path}: expected a checkpoint, found {'a folder' if path.is_dir() else 'no file'}. "
            "Make one with `lenet-deploy train`, or leave out --checkpoint for the bundled one."
        )
    return weights_file.bytes_of(path)
