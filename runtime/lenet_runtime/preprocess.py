"""Digits to the network's input: pad with black, scale to [0, 1], normalise, as in training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocessing:
    """What stands between a picture's pixels and the network; an artifact carries its own.

    The defaults are MNIST's: the mean and standard deviation of the training set's pixels in
    [0, 1], and two black pixels on every side, from 28x28 to the 32x32 of LeNet's input
    (LeCun et al. 1998, section II.B).
    """

    mean: float = 0.1307
    std: float = 0.3081
    padding: int = 2
