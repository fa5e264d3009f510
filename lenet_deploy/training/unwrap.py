"""From what a file holds to the network's own tensors: nestings, prefixes, counters and dtypes.

Everyday checkpoints wrap the weights in dicts, in the prefixes of wrappers such as DataParallel,
and in other precisions. Each step that undoes one is said.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lenet_deploy.training.weights_file import MOST_BYTES, SAFE_WAY, foreign_name
from lenet_runtime.errors import ArtifactError

Tensors = dict[str, torch.Tensor]

# Where training code keeps the state dict.
_NESTS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights",
          "module", "params", "net_state_dict", "state")  # fmt: skip
# Of a layer's parameters and buffers, as PyTorch names them.
PARTS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
# What wrappers put between the names: DataParallel and DistributedDataParallel; torch.compile.
_WRAPPERS = ("module", "_orig_mod")
_MOST_DEPTH = 8
_CASTS = (torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True)
class Unwrapped:
    """The tensors of a network.

    Attributes:
        weights: Float32, by name without wrappers' prefixes, in the file's order.
        original: The same by the names in the file, and those that the prefixes left out.
        counters: Whatever else training keeps among them, such as ``num_batches_tracked``.
        steps: What was done to get here, each a few words.
    """

    weights: Tensors
    original: Tensors
    counters: Tensors
    steps: tuple[str, ...]


def unwrap(loaded: Any, where: str) -> Unwrapped:
    """Find the network's tensors in what a file holds.

    Raises:
        ArtifactError: There are none, or one is no plain tensor of finite numbers that float32
            holds.
    """
    found, steps = _state_dict(loaded, where)
    tensors, ignored = _tensors(found, where)
    _require_plain(tensors, where)
    counters = {n: t for n, t in tensors.items() if not t.is_floating_point()}
    weights = {n: t for n, t in tensors.items() if n not in counters}
    weights, casts = _as_float32(weights, where)
    require_finite(weights, where)
    short, dropped, others = without_prefixes(weights)
    if dropped:
        steps.append(f"dropped the prefix{'es' * (len(dropped) > 1)} {_quoted(dropped)}")
    ignored += [*dict.fromkeys(n.rpartition(".")[2] for n in counters), *others]
    steps += casts
    if ignored:
        steps.append(f"ignored {few(ignored)}")
    return Unwrapped(short, weights, counters, tuple(steps))


def few(names: list[str], most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _state_dict(loaded: Any, where: str) -> tuple[dict[str, Any], list[str]]:
    """Descend into dicts to the one that holds the network's tensors."""
    steps: list[str] = []
    for _ in range(_MOST_DEPTH):
        items = _items(loaded, where)
        if any(_is_weight(value) for value in items.values()):
            return items, steps
        inner = {
            name: value
            for name, value in items.items()
            if isinstance(value, dict) and _holds_weights(value, _MOST_DEPTH, set())
        }
        if inner and all(set(_plain(value)) <= set(PARTS) for value in inner.values()):
            joined = {
                f"{name}.{part}": value
                for name, layer in inner.items()
                for part, value in _plain(layer).items()
            }
            return joined, [*steps, "joined the names of layers and weights"]
        names = [name for name in _NESTS if name in inner] if len(inner) > 1 else list(inner)
        if len(names) != 1:
            raise ArtifactError(f"{where}: {_why_not(items, list(inner))}")
        steps.append(f"took {names[0]!r}")
        loaded = inner[names[0]]
    raise ArtifactError(f"{where}: expected a state dict, found dicts in dicts without end")


def _why_not(items: Mapping[str, Any], inner: list[str]) -> str:
    """Why none of a dict's values is taken for the state dict."""
    if inner:
        return (
            f"expected one state dict, found {len(inner)}, {few(list(map(repr, inner)))}; save one "
            f"by itself with {SAFE_WAY}"
        )
    for name, value in items.items():
        if foreign := foreign_name(value):
            return f"expected tensors, found {_object(foreign)} as {name!r}{_SAVE_STATE}"
    if not items:
        return f"expected a state dict, found an empty one; save the weights with {SAFE_WAY}"
    return (
        f"expected a state dict, found {few(list(map(repr, items)))} and no weights of layers "
        f"among them; save the network's with {SAFE_WAY}"
    )


_SAVE_STATE = (
    "; it was not loaded, because unpickling runs whatever code the file holds; save the weights "
    f"alone where it came from: {SAFE_WAY}"
)


def _object(name: str) -> str:
    if name.startswith("numpy."):
        return f"an array or number of NumPy ({name})"
    return f"a whole pickled object ({name})"


def _items(loaded: Any, where: str) -> dict[str, Any]:
    if foreign := foreign_name(loaded):
        raise ArtifactError(
            f"{where}: expected a state dict, found {_object(foreign)}{_SAVE_STATE}"
        )
    if not isinstance(loaded, dict):
        raise ArtifactError(
            f"{where}: expected a state dict, found {type(loaded).__name__}; save the weights with "
            f"{SAFE_WAY}"
        )
    return {str(name): value for name, value in _plain(loaded).items()}


def _plain(mapping: dict[Any, Any]) -> dict[Any, Any]:
    """A dict of the items: a pickle can hang attributes on an OrderedDict that hide its methods."""
    if isinstance(mapping, OrderedDict):
        return dict(OrderedDict.items(mapping))
    return dict(dict.items(mapping))


def _is_weight(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and torch.Tensor.dim(value) >= 2


def _holds_weights(mapping: dict[Any, Any], depth: int, seen: set[int]) -> bool:
    """Whether a dict is, or holds at some depth, a state dict.

    An optimizer's is none: it counts parameters, and a state dict names them.
    """
    items = _plain(mapping)
    if id(mapping) in seen or depth == 0 or foreign_name(mapping):
        return False
    seen.add(id(mapping))
    return any(
        _is_weight(value) or (isinstance(value, dict) and _holds_weights(value, depth - 1, seen))
        for name, value in items.items()
        if isinstance(name, str)
    )


def _tensors(items: dict[str, Any], where: str) -> tuple[Tensors, list[str]]:
    """The tensors among the items, and the names of the others."""
    tensors: Tensors = {}
    others = []
    for name, value in items.items():
        if isinstance(value, torch.Tensor):
            # A plain tensor, without the attributes that a pickle can hang on one.
            tensors[name] = torch.Tensor.detach(value)
        elif name.rpartition(".")[2] in PARTS:
            foreign = foreign_name(value)
            found = _object(foreign) + _SAVE_STATE if foreign else type(value).__name__
            raise ArtifactError(f"{where}: expected a tensor as {name}, found {found}")
        else:
            others.append(name)
    return tensors, others


def _require_plain(tensors: Tensors, where: str) -> None:
    """Refuse what is quantized, sparse or without values, and more values than a file can hold."""
    bytes_in_all = 0
    for name, tensor in tensors.items():
        kind = _unusual(name, tensor)
        if kind:
            raise ArtifactError(
                f"{where}: expected tensors of float32, found {name} {kind}; save the weights of "
                f"the float32 network on the CPU with {SAFE_WAY}"
            )
        bytes_in_all += tensor.numel() * tensor.element_size()
    if bytes_in_all > MOST_BYTES:  # by a stride of 0, say
        raise ArtifactError(
            f"{where}: expected tensors of at most {MOST_BYTES} bytes, found {bytes_in_all}"
        )


def _unusual(name: str, tensor: torch.Tensor) -> str:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.device.type != "cpu":
        return f"without values (on {tensor.device.type!r})"
    if tensor.layout != torch.strided or tensor.is_nested:
        return "that is not dense (sparse)"
    if tensor.is_quantized or dtype.startswith("float8"):
        return f"that is quantized ({dtype})"
    if tensor.is_complex():
        return f"of {dtype}"
    is_weight = tensor.is_floating_point() or tensor.dim() == 0
    if not is_weight and name.rpartition(".")[2] in PARTS[:4]:
        return f"that is quantized or an index ({dtype})"
    return ""


def without_prefixes(tensors: Tensors) -> tuple[Tensors, list[str], list[str]]:
    """Names without what wrappers put before them; returns also the prefixes, and names left out.

    A wrapper's part goes wherever it stands. Another part goes where every layer's name begins with
    it, unless a number follows, as in a Sequential; what then does not begin with it, such as a
    loss function's own weights, is left out.
    """
    dropped, others = [], []
    names = {name: name.split(".") for name in tensors}
    for wrapper in _WRAPPERS:
        if any(wrapper in parts[:-1] for parts in names.values()):
            dropped.append(f"{wrapper}.")
            names = {
                name: [part for part in parts[:-1] if part != wrapper] + parts[-1:]
                for name, parts in names.items()
            }
    while (first := _common(tensors, names)) is not None:
        others += [name for name, parts in names.items() if parts[0] != first]
        names = {name: parts[1:] for name, parts in names.items() if parts[0] == first}
        dropped.append(f"{first}.")
    short = {".".join(parts): tensors[name] for name, parts in names.items()}
    if len(short) < len(names):  # two became one
        return tensors, [], []
    return short, dropped, others


def _common(tensors: Tensors, names: Mapping[str, list[str]]) -> str | None:
    """The first part that all names of layers' weights share and can do without."""
    layers = [parts for name, parts in names.items() if tensors[name].dim() >= 2]
    firsts = {parts[0] for parts in layers}
    if len(firsts) != 1 or len({tuple(parts[:-1]) for parts in layers}) < 2:
        return None
    (first,) = firsts
    rest = [parts[1:] for parts in names.values() if parts[0] == first]
    return first if all(len(parts) >= 2 and not parts[0].isdigit() for parts in rest) else None


def _as_float32(weights: Tensors, where: str) -> tuple[Tensors, list[str]]:
    cast: Tensors = {}
    for name, tensor in weights.items():
        cast[name] = tensor.to(torch.float32)
        if bool((tensor.isfinite() & ~cast[name].isfinite()).any()):
            raise ArtifactError(
                f"{where}: expected weights that float32 can hold, found larger ones in {name}, of "
                f"{str(tensor.dtype).removeprefix('torch.')}; train again with a lower --lr"
            )
    kinds = {str(t.dtype).removeprefix("torch.") for t in weights.values()} - {"float32"}
    return cast, [f"cast {' and '.join(sorted(kinds))} to float32"] if kinds else []


def require_finite(weights: Tensors, where: str) -> None:
    """Raise `ArtifactError` naming tensors that hold NaN or infinity."""
    bad = [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]
    if bad:
        raise ArtifactError(
            f"{where}: expected finite weights, found NaN or infinity in {few(bad)}; the training "
            "diverged: train again with a lower learning rate (lenet-deploy train --lr)"
        )


def _quoted(names: list[str]) -> str:
    return ", ".join(map(repr, names))
