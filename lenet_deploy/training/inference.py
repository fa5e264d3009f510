"""Infers a network of the LeNet family from the names and shapes of its weights."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lenet_deploy.training.family import Architecture, Convolution, Dense
from lenet_deploy.training.layer_order import ASK, CannotInfer, full_name, read_layers
from lenet_deploy.training.unwrap import Tensors

SIDES = (32, 28)  # the input's usual heights and widths


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
    convolutions, dense = read_layers(weights, ordered=ordered)
    channels = convolutions[0].inputs
    if channels not in (1, 3):
        raise CannotInfer(
            f"images have 1 or 3 channels, found {channels} in "
            f"{full_name(convolutions[0].name, 'weight')}; {ASK}"
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
    name = full_name(dense[0].name, "weight")
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
