"""Files of weights, told apart by their content: safetensors, torch.save's archive or old pickle.

No code of a file is ever run. `torch.load` is called with ``weights_only=True``, whose unpickler
makes tensors and plain containers; every other class or function that the pickle names, such as
those of a trainer's hyper-parameters, is replaced by a stand-in that does nothing.
"""

import io
import json
import pickle
import pickletools
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch.serialization import safe_globals

from lenet_runtime.artifact.files import mistaken_for
from lenet_runtime.errors import ArtifactError

MOST_BYTES = 2**26  # 67 MB; LeNet's checkpoints have 325 KB, with an optimizer's state 1 MB
SAFE_WAY = "torch.save(net.state_dict(), 'lenet.pt')"
# The errors of torch's reader and its restricted unpickler on damaged or foreign bytes.
UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, TypeError,
    LookupError, AttributeError, AssertionError, ArithmeticError, struct.error, RecursionError,
    MemoryError, zipfile.BadZipFile, NotImplementedError,
)  # fmt: skip

_TORCH_PICKLE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number all of its old files have
_ZIP = b"PK\x03\x04"
# Whose names a pickle of weights has no need of, not even beside them.
_CODE = {"__builtin__", "builtins", "ctypes", "importlib", "nt", "os", "pickle", "posix", "runpy",
         "shutil", "socket", "subprocess", "sys"}  # fmt: skip
_HARMLESS = {
    f"{module}.{name}"
    for module in ("__builtin__", "builtins")
    for name in ("bytearray", "complex", "dict", "frozenset", "list", "object", "set", "slice")
}
_MOST_OPERATIONS = 500_000  # of a pickle; a state dict of LeNet takes 500
_STRANGERS = (
    (0, b"\x93NUMPY", "it is an array of NumPy (.npy)"),
    (0, b"\x89HDF", "it is HDF5, as Keras writes"),
    (0, b"GGUF", "it is a GGUF file"),
    (4, b"TFL3", "it is a TensorFlow Lite model"),
    (0, b"\x7fELF", "it is a compiled library"),
    (0, b"\x89PNG", "it is a picture"),
    (0, b"\xff\xd8\xff", "it is a picture"),
    (257, b"ustar", "it is a tar archive: unpack it"),
    (0, b"PK\x05\x06", "it is an empty zip archive"),
)
# Files in an archive, and what it then is.
_ARCHIVES = (
    ("constants.pkl", "it is a TorchScript archive, which holds code"),
    ("serialized_exported_program.json", "it is a program of torch.export, which holds code"),
    ("archive_format", "it is a package of torch.export (.pt2), which holds code"),
    (".npy", "it is an archive of NumPy arrays (.npz)"),
    ("model.weights.h5", "it is a model of Keras"),
)


class Foreign:
    """Stands in for a class or function that a pickle names, and does nothing.

    One subclass is made for each name.
    """

    name = ""

    def __init__(self, *_args: Any, **_keywords: Any) -> None:
        """Take whatever the pickle passes."""

    def __setstate__(self, state: Any) -> None:
        """Take whatever the pickle puts into it."""


class ForeignDict(Foreign):
    """Stands in for a subclass of dict: a plain one, since the unpickler fills no other kind."""

    def __new__(cls, *_args: Any, **_keywords: Any) -> Any:
        """Return the dict, whose attribute ``foreign`` is the name."""
        stand_in: OrderedDict[str, Any] = OrderedDict()
        vars(stand_in)["foreign"] = cls.name
        return stand_in


def foreign_name(value: Any) -> str:
    """The name of the class or function that `value` stands in for; empty of anything else."""
    kind = value if isinstance(value, type) else type(value)
    if issubclass(kind, Foreign):
        return kind.name
    return str(vars(value).get("foreign", "")) if kind is OrderedDict else ""


def _stand_in(name: str) -> type[Foreign]:
    kind = ForeignDict if name.lower().endswith(("dict", "config", "box", "munch")) else Foreign
    return type("StandIn", (kind,), {"name": name})


def bytes_of(path: Path) -> bytes:
    """Read a file of a checkpoint's size; `ArtifactError` where it cannot be read or is larger."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot read the checkpoint: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise ArtifactError(
            f"{path}: expected a checkpoint of LeNet, which has 325 KB, found more than "
            f"{MOST_BYTES} bytes"
        )
    return data


def is_safetensors(data: bytes) -> bool:
    """Whether the bytes begin as safetensors do: the length of a JSON object, and the object."""
    return data[8:9] == b"{" and data[6:8] == b"\0\0"  # a length below 2**48


def decode(data: bytes, where: str) -> Any:
    """What the file holds: tensors, in whatever dicts and lists they lie.

    Args:
        data: Bytes of the whole file.
        where: The file's name, for errors.

    Raises:
        ArtifactError: It is damaged, something else, or holds code. None of it was run.
    """
    if is_safetensors(data):
        return _from_safetensors(data, where)
    if data.startswith(_ZIP) or data.startswith(_TORCH_PICKLE):
        return _from_torch(data, where)
    if what := mistaken_for(data) or _stranger(data):
        raise ArtifactError(f"{where}: expected a checkpoint; {what}")
    raise ArtifactError(
        f"{where}: expected a checkpoint, found {len(data)} bytes that are neither safetensors nor "
        f"of torch.save; copy it again, or save the weights with {SAFE_WAY}"
    )


def _stranger(data: bytes) -> str:
    for start, magic, what in _STRANGERS:
        if data.startswith(magic, start):
            return f"{what}; save the weights with {SAFE_WAY}"
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return (
            "it is a pickle that torch.save did not write, such as one of NumPy arrays, and "
            f"unpickling runs code; save the weights with {SAFE_WAY}"
        )
    # The IR version of ONNX, a small number in field 1, and then its producer in field 2.
    if data[:1] == b"\x08" and data[2:3] in (b"\x12", b":"):
        return f"it is an ONNX model, not a checkpoint; save the weights with {SAFE_WAY}"
    return ""


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
            f"({error}); it is damaged or something else: copy it again"
        ) from error


def _from_torch(data: bytes, where: str) -> Any:
    try:
        if data.startswith(_ZIP):
            _check_archive(data, where)
        names = _globals(data, where)
        stand_ins: list[Any] = [
            (type("Foreign", (Foreign,), {"name": name}), name) for name in names
        ]
        with warnings.catch_warnings(), safe_globals(stand_ins):
            warnings.simplefilter("ignore")  # about how such a file should be loaded
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise ArtifactError(
            f"{where}: expected a state dict, found a damaged file or objects that are more than "
            "numbers. It was not loaded, because unpickling runs whatever code the file holds; "
            f"copy it again, or where it came from, save the weights with {SAFE_WAY}"
        ) from error


def _check_archive(data: bytes, where: str) -> None:
    """Refuse other archives than torch.save's, and those that are larger once unpacked."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    for ending, what in _ARCHIVES:
        if any(entry.filename.endswith(ending) for entry in entries):
            raise ArtifactError(
                f"{where}: expected a checkpoint; {what}; save the weights with {SAFE_WAY}"
            )
    if not any(entry.filename.endswith("data.pkl") for entry in entries):
        raise ArtifactError(
            f"{where}: expected a checkpoint, found a zip archive that torch.save did not write; "
            "unpack it, and pass the file that was in it"
        )
    if sum(entry.file_size for entry in entries) > len(data):
        raise ArtifactError(
            f"{where}: expected an archive as torch.save writes it, found one that is compressed; "
            f"save the weights again with {SAFE_WAY}"
        )


def _globals(data: bytes, where: str) -> list[str]:
    """Full names of the classes and functions that the file's pickles name.

    Raises:
        ArtifactError: One of them can do harm, or the pickle is far too long.
    """
    names: dict[str, None] = {}
    operations = 0
    for pickled in _pickles(data):
        for opcode, argument, _ in pickletools.genops(pickled):
            operations += 1
            if operations > _MOST_OPERATIONS:
                raise ArtifactError(
                    f"{where}: expected a state dict, found a pickle of more than "
                    f"{_MOST_OPERATIONS} steps; save the weights alone with {SAFE_WAY}"
                )
            if opcode.name == "GLOBAL":
                names[str(argument).replace(" ", ".", 1)] = None
    for name in names:
        if name.partition(".")[0] in _CODE and name not in _HARMLESS:
            raise ArtifactError(
                f"{where}: expected numbers, found a pickle that calls {name}, as an attack does; "
                "it was not loaded, because unpickling runs that code. Do not load it elsewhere "
                "either, unless you know who made it"
            )
    return list(names)


def _pickles(data: bytes) -> Iterator[io.BytesIO]:
    """The pickle of an archive; or each of an old file, which begins with four, one by one."""
    stream = io.BytesIO(data)
    if data.startswith(_ZIP):
        with zipfile.ZipFile(stream) as archive:
            for name in archive.namelist():
                if name.endswith("data.pkl"):
                    yield io.BytesIO(archive.read(name))
    else:
        for _ in range(4):
            yield stream
