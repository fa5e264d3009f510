"""Infers a network of the LeNet family from the names and shapes of its weights."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lenet_deploy.training.family import Architecture, Convolution, Dense
from lenet_deploy.training.unwrap import Tensors, few
from lenet_runtime.errors import ArtifactError

SIDES = (32, 28)  # the input's usual heights and widths
_MOST_LAYERS = 7  # of a kind, to try each order of
_MOST_FEATURES = 2**16
ASK = "name the network with --model FILE.py:ClassName"


class CannotInfer(ArtifactError):
    """The weights do not say which network they are of; the message says why."""


@dataclass(frozen=True)
class Inferred:
    """What the weights say.

    Attributes:
        architecture: The network.
        others: Less usual networks that the weights fit as well, of other sizes of image.
    """

    architecture: Architecture
    others: tuple[Architecture, ...]


def infer(
    weights: Tensors,
    *,
    ordered: bool = True,
    input_size: tuple[int, int] | None = None,
    activation: str = "relu",
    pooling: str = "max",
) -> Inferred:
    """The network of some weights.

    Args:
        weights: Float32, by name.
        ordered: Whether they come in the order of the network's definition; safetensors sorts them.
        input_size: Height and width of an image, where they are known.
        activation: A key of `family.ACTIVATIONS`, which weights do not say.
        pooling: A key of `family.POOLINGS`, which weights do not say either.

    Raises:
        CannotInfer: The weights are of another family, or of several networks of it.
    """
    if not ordered:
        weights = {name: weights[name] for name in sorted(weights, key=_natural)}
    convolutions, dense = _layers(weights, ordered=ordered)
    channels = convolutions[0].inputs
    if channels not in (1, 3):
        raise CannotInfer(
            f"images have 1 or 3 channels, found {channels} in "
            f"{_name(convolutions[0].name, 'weight')}; {ASK}"
        )
    sizes = [input_size] if input_size else [(side, side) for side in SIDES]
    fits = [
        [
            Architecture(chain, dense, height, width, activation, pooling)
            for height, width in sizes
            for chain in tier
            if _fits(chain, dense[0].inputs, height, width)
        ]
        for tier in _tiers(convolutions)
    ]
    best = next((tier for tier in fits if tier), [])
    if not best:
        raise CannotInfer(_no_fit(convolutions, dense, input_size))
    if len(best) > 1:
        shown = "; or ".join(map(_geometry, best[:3]))
        raise CannotInfer(f"the weights fit more than one network: {shown}; {_which(best)}")
    sides = {(best[0].height, best[0].width)}
    others = [
        other
        for tier in fits
        for other in tier
        if (other.height, other.width) not in sides and all(c.pooled for c in other.convolutions)
    ]
    return Inferred(best[0], tuple(others))


def other_sizes(inferred: Inferred) -> list[str]:
    """A line for each other size of image that the weights fit, and how to choose it."""
    return [
        f"the weights also fit images of {other.height}x{other.width} with padding "
        f"{other.convolutions[0].padding} in the first convolution: --input-size {other.height}"
        for other in inferred.others[:1]
    ]


def _layers(
    weights: Tensors, *, ordered: bool
) -> tuple[tuple[Convolution, ...], tuple[Dense, ...]]:
    """The layers in their order, without paddings and pools."""
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
                f"{_name(layer, 'weight')}; {ASK}"
            )
        return weight.dim()
    shapes = {tuple(tensor.shape) for tensor in own.values()}
    affine = {"weight", "bias"} & set(own)
    if set(own) - affine == {"running_mean", "running_var"} and len(affine) != 1:
        (shape, *rest) = shapes
        if not rest and len(shape) == 1:
            return 1
    raise CannotInfer(_strange(layer, own, set(own)))


def _name(layer: str, part: str) -> str:
    return f"{layer}.{part}" if layer else part


def _strange(layer: str, own: Tensors, parts: set[str]) -> str:
    shown = [f"{_name(layer, part)} {tuple(own[part].shape)}" for part in own if part in parts]
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


def _tiers(chain: tuple[Convolution, ...]) -> Iterator[list[tuple[Convolution, ...]]]:
    """Ways to pad and pool, the most usual first.

    All layers are padded, or none is; then the first alone, as in LeNet-5 for images of 28x28. All
    are pooled; then some.
    """
    none, same = [0] * len(chain), [each.kernel // 2 for each in chain]
    everywhere = (True,) * len(chain)
    some = [p for p in itertools.product((True, False), repeat=len(chain)) if p != everywhere]
    for paddings in ([none, same], [same[:1] + none[1:]] if len(chain) > 1 else []):
        for pools in ([everywhere], some):
            yield [
                tuple(
                    replace(each, padding=padding, pooled=pooled)
                    for each, padding, pooled in zip(chain, own_paddings, own_pools, strict=True)
                )
                for own_paddings in paddings
                for own_pools in pools
            ]


def _fits(chain: Sequence[Convolution], features: int, height: int, width: int) -> bool:
    """Whether images of this size become as many features as the first dense layer takes."""
    for each in chain:
        shrink = each.kernel - 1 - 2 * each.padding
        height, width = height - shrink, width - shrink
        if each.pooled:
            height, width = height // 2, width // 2
        if height < 1 or width < 1:
            return False
    return chain[-1].outputs * height * width == features


def _no_fit(
    chain: Sequence[Convolution], dense: Sequence[Dense], size: tuple[int, int] | None
) -> str:
    features, channels = dense[0].inputs, chain[-1].outputs
    name = _name(dense[0].name, "weight")
    if features % channels:
        return (
            f"{name} takes {features} features, which {channels} channels of {chain[-1].name!r} "
            f"cannot make; {ASK}"
        )
    sizes = f"{size[0]}x{size[1]}" if size else " or ".join(f"{side}x{side}" for side in SIDES)
    return (
        f"{name} takes {channels} channels of {features // channels} pixels, which images of "
        f"{sizes} do not become by 2x2 pooling and padding of 0 or half a kernel; name their size "
        f"with --input-size, or {ASK}"
    )


def _geometry(architecture: Architecture) -> str:
    """What the weights leave open."""
    paddings = [each.padding for each in architecture.convolutions]
    pools = [each.name for each in architecture.convolutions if each.pooled]
    return (
        f"input {architecture.height}x{architecture.width} with padding "
        f"{', '.join(map(str, paddings))} and pooling after {' and '.join(pools) or 'none'}"
    )


def _which(fits: Sequence[Architecture]) -> str:
    sizes = {(each.height, each.width) for each in fits}
    return f"choose with --input-size, or {ASK}" if len(sizes) > 1 else ASK
