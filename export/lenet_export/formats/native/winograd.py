"""How far Winograd's filters round: which convolutions of a network cannot bear them.

They subtract pixels from each other and add up large products whose difference is the answer.
Ordinary filters use what was subtracted, and the error stays near a direct convolution's. A filter
of one tap does not: the products of its tile are as large as the largest pixel, where the direct
convolution has a single product of a pixel that may be small, or 0. What becomes of the error
depends on the dense layers, too. So it is estimated for each network when its code is generated.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from numpy.typing import NDArray

from lenet_export.formats.native.pack import FILTER2, FILTER4
from lenet_export.network.layers import Convolution, Network
from lenet_export.proof import mnist_batch
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.parity import TOLERANCES, parity_batches

# The transforms of a filter, an input and the products, whose results are outputs (Lavin and Gray
# 2015): of three taps as they are, of F(2,3) and of F(4,3).
PLAIN = (np.eye(3), np.eye(3), np.ones((1, 3)))
F2 = (
    FILTER2,
    np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]),
    np.array([[1, 1, 1, 0], [0, 1, -1, 1]]),
)
F4 = (
    FILTER4,
    np.array([[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
              [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]),
    np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
)  # fmt: skip
# A share of the tolerance. In tests/helpers/random_networks.py, logits of networks below it were
# within the tolerance; the bundled network has 0.17.
LIMIT = 0.3
_ROUNDOFF = 2.0**-24
_IMAGES = 6  # of each kind
_NEAR_ZERO = 1e-6  # of the largest value of a layer: rounding may take it over a ReLU's corner

Transform = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


def direct(network: Network, precision: str) -> tuple[bool, bool]:
    """Which of the two convolutions must multiply their filters as they are; see `Packed`."""
    first, second = shares_of_tolerance(network, precision)
    return first > LIMIT, second > LIMIT


def shares_of_tolerance(network: Network, precision: str = "fp32") -> tuple[float, float]:
    """The standard deviation of a logit's error by Winograd's conv1, and by conv2, as a share of
    the tolerance: the largest among the logits of some noise, digits, and noise cut off at zero.

    Every number that is computed is taken to be off by 2^-24 of the magnitudes that it is computed
    from, by chance, and what that does to the logits is their derivative: the network is linear
    where no ReLU and no maximum changes.
    """
    digits = mnist_batch(load_digits().images, Preprocessing(), (1, 32, 32))
    (_, noise), (_, real) = parity_batches(digits, (_IMAGES,))
    images = _wide(np.concatenate([noise, real, np.maximum(noise, 0), np.minimum(noise, 0)]))
    with torch.enable_grad():
        first = _convolve(images, network.conv1).requires_grad_()
        x = _relu(F.max_pool2d(first, 2))
        second = _convolve(x, network.conv2)
        logits = _relu(F.max_pool2d(second, 2)).flatten(1)
        for number, layer in enumerate(network.dense):
            logits = logits if number == 0 else _relu(logits)
            logits = logits @ _wide(layer.weight).T + _wide(layer.bias)
        allowed = TOLERANCES[precision].rtol * logits.detach().abs().amax(1)
        shares = [0.0, 0.0]
        for logit in range(logits.shape[1]):
            slopes = torch.autograd.grad(logits[:, logit].sum(), (first, second), retain_graph=True)
            variances = (
                _variance(images, network.conv1, slopes[0][..., :28, :28], PLAIN, F2),
                _variance(x.detach(), network.conv2, slopes[1][..., :12, :12], F4, F2),
            )
            for number, variance in enumerate(variances):
                share = _ROUNDOFF * variance.sqrt() / allowed
                share = share.nan_to_num(nan=0, posinf=np.inf)
                shares[number] = max(shares[number], float(share.max()))
    return shares[0], shares[1]


def _variance(
    x: torch.Tensor, layer: Convolution, slopes: torch.Tensor, down: Transform, along: Transform
) -> torch.Tensor:
    """The variance of a value of each image, in units of a roundoff.

    Args:
        x: the convolution's input ``(image, channel, y, x)``.
        layer: the convolution.
        slopes: derivatives of the value by the outputs, ``(image, output channel, y, x)``.
        down: the transform of columns.
        along: the transform of rows.
    """
    (height, rows), (width, columns) = down[2].shape, along[2].shape
    tiles = x.unfold(2, rows, height).unfold(3, columns, width)
    magnitudes = torch.einsum(
        "iy,jx,ncabyx->nabijc", _wide(np.abs(down[1])), _wide(np.abs(along[1])), tiles.abs()
    )
    filters = torch.einsum("ip,jq,ocpq->ijco", _wide(down[0]), _wide(along[0]), _wide(layer.weight))
    images, outputs, down_by, along_by = slopes.shape
    slopes = slopes.reshape(images, outputs, down_by // height, height, along_by // width, width)
    slopes = torch.einsum("yi,xj,noaybx->nabijo", _wide(down[2]), _wide(along[2]), slopes)
    count = slopes.shape[1:3]
    # An input's error goes into the products of all filters, a product's own into one.
    shared = torch.einsum("nabijo,ijco->nabijc", slopes, filters) ** 2
    own = torch.einsum("nabijo,ijco->nabijc", slopes**2, filters**2)
    squares = magnitudes[:, : count[0], : count[1]] ** 2
    return ((shared + own) * squares).flatten(1).sum(1)


def _relu(x: torch.Tensor) -> torch.Tensor:
    """ReLU, with the derivative 1 also where rounding may make a value positive."""
    return x * (x >= -_NEAR_ZERO * x.detach().abs().amax()).detach()


def _convolve(x: torch.Tensor, layer: Convolution) -> torch.Tensor:
    return F.conv2d(x, _wide(layer.weight), _wide(layer.bias))


def _wide(values: NDArray[Any]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)
