"""The quantised network once more, in NumPy integers: what every int8 kernel must equal."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

INT16, UINT8 = (-(2**15), 2**15 - 1), (0, 255)


def rounded(values, scale, limits):
    """``rint(float32(values) * scale)`` with one rounding of the product, clipped."""
    with np.errstate(over="ignore"):  # what is infinite is clipped
        product = np.asarray(values).astype(np.float32) * np.float32(scale)
    return np.clip(np.rint(product), *limits).astype(np.int64)


def convolution(codes, layer):
    """``(N, in, H, W)`` to pooled sums ``(N, out, (H - 2) // 2, (W - 2) // 2)``."""
    windows = sliding_window_view(codes, (3, 3), axis=(2, 3))
    sums = np.einsum("nchwij,ocij->nohw", windows, layer.weight.astype(np.int64), optimize=True)
    sums += layer.bias[:, None, None]
    rows, columns = sums.shape[2] // 2, sums.shape[3] // 2
    sums = sums[:, :, : 2 * rows, : 2 * columns]
    return sums.reshape(*sums.shape[:2], rows, 2, columns, 2).max(axis=(3, 5))


def logits(quantized, images):
    """Logits float32 ``(N, 10)`` of images float32 ``(N, 1, 32, 32)``."""
    conv1, conv2, *dense = quantized.layers
    codes = rounded(images, quantized.input_scale, INT16)
    for layer in (conv1, conv2):
        codes = rounded(convolution(codes, layer), layer.scale[:, None, None], UINT8)
    codes = codes.reshape(len(codes), -1)
    for layer in dense[:-1]:
        codes = rounded(_linear(codes, layer), layer.scale, UINT8)
    return _linear(codes, dense[-1]).astype(np.float32) * dense[-1].scale


def _linear(codes, layer):
    sums = codes @ layer.weight.astype(np.int64).T + layer.bias
    assert np.abs(sums).max(initial=0) < 2**31
    return sums
