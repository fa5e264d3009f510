"""Checkpoints: files of LeNet's weights, with a card that describes them.

The format is safetensors, which holds numbers and no code. The card (hyper-parameters, data,
preprocessing, accuracy, versions) is in the header of the same file, so that one rename replaces
both and they never mix; ``<name>.json`` beside the file is a copy for people. A ``.pt`` or
``.pth`` state dict is read as well, with ``torch.load(weights_only=True)``.
"""

import hashlib
import io
import json
import pickle
import struct
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch

from lenet_deploy.training.model import Net
from lenet_runtime.artifact.files import mistaken_for, write_atomically
from lenet_runtime.errors import ArtifactError
from lenet_runtime.images.preprocess import Preprocessing

BUNDLED = "lenet.safetensors"
_SAFE_WAY = (
    "save the weights alone, with safetensors.torch.save_file(net.state_dict(), "
    "'lenet.safetensors') or torch.save(net.state_dict(), 'lenet.pt')"
)
_MOST_BYTES = 2**26  # 67 MB; LeNet's checkpoints have 325 KB, with an optimizer's state 1 MB
# The errors of torch's reader and its restricted unpickler on damaged or foreign bytes.
UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, TypeError,
    LookupError, AttributeError, AssertionError, ArithmeticError, struct.error, RecursionError,
    MemoryError,
)  # fmt: skip


def load_checkpoint(path: Path | None = None) -> Net:
    """Read LeNet's weights from `path`, or the bundled ones, into a `Net` in eval mode on the CPU.

    Raises:
        ArtifactError: the file is missing or damaged, is not a checkpoint of LeNet, holds code, or
            holds weights that are not finite. No code in it was run.
    """
    return _net(path, _read(path))


def read_checkpoint(path: Path | None = None) -> tuple[Net, dict[str, Any]]:
    """Read the weights as `load_checkpoint` does, and the card; an absent card is empty.

    Raises:
        ArtifactError: the weights cannot be read, or the card is not a JSON object with valid
            preprocessing numbers.
    """
    data = _read(path)
    return _net(path, data), _card(path, data)


def _net(path: Path | None, data: bytes) -> Net:
    where, net = _where(path), Net()
    read_weights = _from_safetensors if _is_safetensors(path) else _from_torch
    try:
        weights = read_weights(data, where)
    except ArtifactError as error:
        if what := mistaken_for(data):
            raise ArtifactError(f"{where}: expected a checkpoint; {what}") from error
        raise
    check_weights(net, weights, where)
    net.load_state_dict(weights)
    return net.eval()


def _card(path: Path | None, data: bytes) -> dict[str, Any]:
    if path is None or _is_safetensors(path):
        length = int.from_bytes(data[:8], "little")
        text = json.loads(data[8 : 8 + length]).get("__metadata__", {}).get("card")
    else:
        file = path.with_suffix(".json")
        text = bytes_of(file).decode(errors="replace") if file.is_file() else None
    text = text or "{}"
    try:
        card = json.loads(text)
        Preprocessing(**card.get("preprocessing", {}))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            f"{_where(path)}: expected a card that is a JSON object with sound preprocessing "
            f"numbers, found {text[:100]!r} ({error}). Mend it, or delete it if it lies beside the "
            "weights."
        ) from error
    return cast(dict[str, Any], card)


def _where(path: Path | None) -> str:
    return "the bundled checkpoint" if path is None else str(path)


def _is_safetensors(path: Path | None) -> bool:
    return path is None or path.suffix == ".safetensors"


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
    """Compare `weights` with the tensors of `net`, and report all differences in one error.

    Raises:
        ArtifactError: a tensor is missing, unknown, of another shape or dtype, or not finite.
    """
    expected = {name: _kind(tensor) for name, tensor in net.state_dict().items()}
    found = {name: _kind(value) for name, value in weights.items()}
    differences = "".join(
        f"\n  {name}: expected {expected.get(name, 'none')}, found {found.get(name, 'none')}"
        for name in expected | found
        if expected.get(name) != found.get(name)
    )
    if differences:
        raise ArtifactError(
            f"{where}: not the weights of LeNet (lenet_deploy.training.model.Net):{differences}\n"
            f"Train this network with `lenet-deploy train`; or {_SAFE_WAY}."
        )
    not_finite = [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]
    if not_finite:
        raise ArtifactError(
            f"{where}: expected finite weights, found NaN or infinity in {', '.join(not_finite)}. "
            "Training diverged; train again with a lower --lr."
        )


def _kind(value: object) -> str:
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    is_dense = value.layout == torch.strided and value.device.type == "cpu"
    note = "" if is_dense else " (not dense)"
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}{note}"


def _read(path: Path | None) -> bytes:
    if path is None:
        return (files("lenet_deploy") / "bundled" / BUNDLED).read_bytes()
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise ArtifactError(
            f"{path}: expected a checkpoint named .safetensors, .pt or .pth, found "
            f"{path.suffix or 'no suffix'!r}; to keep it safe, {_SAFE_WAY}."
        )
    if not path.is_file():
        raise ArtifactError(
            f"{path}: expected a checkpoint, found {'a folder' if path.is_dir() else 'no file'}. "
            "Make one with `lenet-deploy train`, or leave out --checkpoint for the bundled one."
        )
    return bytes_of(path)


def bytes_of(path: Path) -> bytes:
    """Read a file of a checkpoint's size; `ArtifactError` where it cannot be read or is larger."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot read the checkpoint: {error.strerror}") from error
    if len(data) > _MOST_BYTES:
        raise ArtifactError(
            f"{path}: expected a checkpoint of LeNet, which has 325 KB, found more than "
            f"{_MOST_BYTES} bytes"
        )
    return data


def _from_safetensors(data: bytes, where: str) -> dict[str, torch.Tensor]:
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        if not isinstance(header.get("__metadata__", {}), dict):
            raise ValueError("its metadata are no object")
        return safetensors.torch.load(data)
    except (
        safetensors.SafetensorError,
        KeyError,
        ValueError,
        RuntimeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise ArtifactError(
            f"{where}: expected a whole safetensors file, found {len(data)} bytes that are not "
            f"({error}). It is damaged or something else; copy it again, or {_SAFE_WAY}."
        ) from error


def _from_torch(data: bytes, where: str) -> dict[str, Any]:
    try:
        weights = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise ArtifactError(
            f"{where}: expected a state dict, found a pickled module or a damaged file. It was "
            "not loaded, because unpickling runs whatever code the file holds. Where the file "
            f"came from, {_SAFE_WAY}."
        ) from error
    if not isinstance(weights, dict):
        raise ArtifactError(
            f"{where}: expected a state dict, found {type(weights).__name__}; {_SAFE_WAY}."
        )
    return {str(name): value for name, value in weights.items()}
