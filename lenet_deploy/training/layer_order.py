"""The layers that weights are of, in their order, which names, shapes and files say or do not."""

import itertools
import re
from collections.abc import Iterator, Sequence

from lenet_deploy.training.family import Convolution, Dense
from lenet_deploy.training.unwrap import Tensors, few
from lenet_runtime.errors import ArtifactError

_MOST_LAYERS = 7  # of a kind, to try each order of
_MOST_FEATURES = 2**16
ASK = "name the network with --model FILE.py:ClassName"


class CannotInfer(ArtifactError):
    """The weights do not say which network they are of; the message says why."""


def read_layers(
    weights: Tensors, *, ordered: bool
) -> tuple[tuple[Convolution, ...], tuple[Dense, ...]]:
    """The layers in their order, without paddings and pools.

    Args:
        weights: Float32, by name.
        ordered: Whether they come in the order of the network's definition; safetensors sorts them.

    Raises:
        CannotInfer: A layer is of another family, or the order is not clear.
    """
    if not ordered:
        weights = {name: weights[name] for name in sorted(weights, key=_natural)}
    kinds: dict[int, dict[str, Tensors]] = {4: {}, 2: {}, 1: {}}
    layers: dict[str, Tensors] = {}
    for name, tensor in weights.items():
        layer, _, part = name.rpartition(".")
        layers.setdefault(layer, {})[part] = tensor
    for layer, own in layers.items():
        kinds[_dimensions(layer, own)][layer] = own
    if not kinds[4] or not kinds[2]:
        missing = "convolutions (4-D weights)" if not kinds[4] else "dense layers (2-D weights)"
        raise CannotInfer(f"LeNet has convolutions and dense layers, found no {missing}; {ASK}")
    after = _in_order(kinds[4], ordered=ordered), _in_order(kinds[2], ordered=ordered)
    norms = _norms(list(layers), after[0], kinds, ordered=ordered)
    convolutions = tuple(
        Convolution(
            name, kinds[4][name]["weight"].shape[1], len(kinds[4][name]["weight"]),
            kinds[4][name]["weight"].shape[2], "bias" in kinds[4][name], norms.get(name, ""),
        )
        for name in after[0]
    )  # fmt: skip
    dense = tuple(
        Dense(name, own["weight"].shape[1], len(own["weight"]), "bias" in own)
        for name, own in ((name, kinds[2][name]) for name in after[1])
    )
    return convolutions, dense


def _dimensions(layer: str, own: Tensors) -> int:
    """4 of a convolution, 2 of a dense layer, 1 of batch normalisation."""
    weight = own.get("weight")
    if weight is not None and weight.dim() in (4, 2):
        if set(own) - {"weight", "bias"}:
            raise CannotInfer(_strange(layer, own, set(own) - {"weight", "bias"}))
        if "bias" in own and tuple(own["bias"].shape) != (len(weight),):
            raise CannotInfer(_strange(layer, own, {"bias"}))
        if 0 in weight.shape or max(weight.shape) > _MOST_FEATURES:
            raise CannotInfer(_strange(layer, own, {"weight"}))
        if weight.dim() == 4 and tuple(weight.shape[2:]) not in ((3, 3), (5, 5)):
            height, width = weight.shape[2:]
            raise CannotInfer(
                f"the family has kernels of 3x3 and 5x5, found {height}x{width} in "
                f"{full_name(layer, 'weight')}; {ASK}"
            )
        return weight.dim()
    shapes = {tuple(tensor.shape) for tensor in own.values()}
    affine = {"weight", "bias"} & set(own)
    if set(own) - affine == {"running_mean", "running_var"} and len(affine) != 1:
        (shape, *rest) = shapes
        if not rest and len(shape) == 1:
            return 1
    raise CannotInfer(_strange(layer, own, set(own)))


def full_name(layer: str, part: str) -> str:
    """The name of a layer's weight; of a module that is one layer, the part alone."""
    return f"{layer}.{part}" if layer else part


def _strange(layer: str, own: Tensors, parts: set[str]) -> str:
    shown = [f"{full_name(layer, part)} {tuple(own[part].shape)}" for part in own if part in parts]
    return f"LeNet has no layer with {few(shown)}; {ASK}"


def _in_order(layers: dict[str, Tensors], *, ordered: bool) -> list[str]:
    """Names in the one order in which each layer takes as much as the one before it makes."""
    names = list(layers)
    if _chains(names, layers) and (ordered or _differ_in_numbers(names)):
        return names
    if len(names) > _MOST_LAYERS:
        raise CannotInfer(f"found {len(names)} layers with weights; {ASK}")
    orders = list(itertools.islice(_orders(names, layers), 2))
    if not orders:
        shown = [f"{name} {tuple(layers[name]['weight'].shape)}" for name in names]
        raise CannotInfer(f"the layers make no chain, found {few(shown, 6)}; {ASK}")
    if len(orders) > 1:
        raise CannotInfer(f"{few(names)} fit in more than one order; {ASK}")
    return orders[0]


def _differ_in_numbers(names: Sequence[str]) -> bool:
    """Whether the numbers in their names say their order, as those of conv1 and conv2 do."""
    return len({re.sub("[0-9]", "", name) for name in names}) == 1


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts ``net.10`` behind ``net.3``."""
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split("([0-9]+)", name)
    ]


def _chains(names: Sequence[str], layers: dict[str, Tensors]) -> bool:
    return all(
        len(layers[one]["weight"]) == layers[next_one]["weight"].shape[1]
        for one, next_one in itertools.pairwise(names)
    )


def _orders(names: Sequence[str], layers: dict[str, Tensors]) -> Iterator[list[str]]:
    """Every order that is a chain."""
    if len(names) == 1:
        yield list(names)
    for first in names if len(names) > 1 else ():
        rest = [name for name in names if name != first]
        for order in _orders(rest, layers):
            if _chains([first, order[0]], layers):
                yield [first, *order]


def _norms(
    names: list[str],
    convolutions: list[str],
    kinds: dict[int, dict[str, Tensors]],
    *,
    ordered: bool,
) -> dict[str, str]:
    """The batch normalisation behind each convolution, by its place in the file or its length."""
    layers, dense, norms = kinds[4], kinds[2], kinds[1]
    before = {name: names[names.index(name) - 1] for name in norms if name != names[0]}
    pairs = {
        layer: norm
        for norm, layer in before.items()
        if layer in layers and len(layers[layer]["weight"]) == _length(norms[norm])
    }
    if len(pairs) == len(norms):
        for norm in norms:  # which a convolution that is defined before it might need as well
            known = names[: names.index(norm)] if ordered else convolutions
            if _of_length(layers, _length(norms[norm])) & set(known) - set(pairs):
                raise CannotInfer(_unclear([norm]))
        return pairs
    pairs = {}
    for length in {_length(own) for own in norms.values()}:
        of_length = [name for name in norms if _length(norms[name]) == length]
        chosen = [c for c in convolutions if c in _of_length(layers, length)]
        others = _of_length(dense, length)
        if (
            len(chosen) != len(of_length)
            or (others and len(norms) != len(convolutions))
            or (ordered and others & {before.get(norm) for norm in of_length})
            or (len(of_length) > 1 and not ordered and not _differ_in_numbers(of_length))
        ):
            raise CannotInfer(_unclear(of_length))
        pairs |= dict(zip(chosen, of_length, strict=True))
    return pairs


def _of_length(layers: dict[str, Tensors], length: int) -> set[str]:
    """Layers with so many outputs."""
    return {name for name, own in layers.items() if len(own["weight"]) == length}


def _unclear(norms: list[str]) -> str:
    return f"it is not clear what {few(norms)} follows; {ASK}"


def _length(own: Tensors) -> int:
    return len(own["running_mean"])
