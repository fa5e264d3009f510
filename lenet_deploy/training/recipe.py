"""The hyper-parameters of a training run: one frozen value, checked once, without torch."""

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import Preprocessing


class Loss(StrEnum):
    """The function that training minimises."""

    CROSS_ENTROPY = "cross-entropy"
    MSE = "mse"


class Optimizer(StrEnum):
    """How a gradient becomes a step."""

    SGD = "sgd"
    MOMENTUM = "momentum"
    NESTEROV = "nesterov"
    ADAM = "adam"
    RMSPROP = "rmsprop"


class Schedule(StrEnum):
    """How the learning rate moves from the first step to the last."""

    CONSTANT = "constant"
    COSINE = "cosine"
    ONE_CYCLE = "one-cycle"


# The default peak learning rates; Nesterov's is for the one-cycle schedule.
DEFAULT_LR = {
    Optimizer.SGD: 0.01,
    Optimizer.MOMENTUM: 0.01,
    Optimizer.NESTEROV: 0.05,
    Optimizer.ADAM: 0.001,
    Optimizer.RMSPROP: 0.001,
}


@dataclass(frozen=True)
class Recipe:
    """The hyper-parameters; with the digits and the machine they decide the weights.

    The default's epochs and weight decay were chosen by five trials on 10,000 held-out training
    digits, of which the best got 99.40% right. Trained once on all 60,000 digits, the network then
    got 99.56% of the test digits; LeNet-5 got 99.05%, and 99.2% with distortions (LeCun et al.
    1998).

    Attributes:
        epochs: Passes over the training digits.
        batch_size: Digits in a step; the last step of an epoch takes the remaining ones.
        loss: Cross entropy of the logits, or mean squared error against one-hot targets.
        optimizer: Optimizer. Momentum is 0.9; Adam and RMSprop have torch's own constants.
        lr: Learning rate; its peak where the schedule changes it.
        schedule: Constant, cosine to zero, or one cycle (Smith and Topin, arXiv:1708.07120).
        weight_decay: L2 penalty on every parameter.
        augment: Whether to distort each training digit a little, anew in each epoch.
        validation: Training digits that are held out to judge a trial; 0 trains on all of them.
        mean: Number that is subtracted from pixels in [0, 1] after padding.
        std: Number that the difference is divided by.
        seed: Seed of the first weights, the order of the digits and their distortions.

    Raises:
        InputError: a value is out of range; the message names the flag.
    """

    epochs: int = 40
    batch_size: int = 64
    loss: Loss = Loss.CROSS_ENTROPY
    optimizer: Optimizer = Optimizer.NESTEROV
    lr: float = DEFAULT_LR[Optimizer.NESTEROV]
    schedule: Schedule = Schedule.ONE_CYCLE
    weight_decay: float = 5e-4
    augment: bool = True
    validation: int = 0
    mean: float = 0.1307
    std: float = 0.3081
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("validation", "seed"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name in ("lr", "std"):
            self._require(name, 0 < getattr(self, name) < math.inf, "a finite number above 0")
        self._require("weight_decay", 0 <= self.weight_decay < math.inf, "finite, at least 0")
        self._require("mean", math.isfinite(self.mean), "a finite number")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            flag = "--" + name.replace("_", "-")
            raise InputError(f"{flag}: expected {expected}, found {getattr(self, name)}")

    @property
    def preprocessing(self) -> Preprocessing:
        """How a digit's pixels become the network's input."""
        return Preprocessing(mean=self.mean, std=self.std)

    def differences(self, other: "Recipe") -> list[str]:
        """Describe, as flags, each value that differs in `other`."""
        theirs = asdict(other)
        return [
            f"--{name.replace('_', '-')} {value} here, {theirs[name]} there"
            for name, value in asdict(self).items()
            if value != theirs[name]
        ]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        """Restore a recipe from what `dataclasses.asdict` made of it, after a way through JSON."""
        kinds = {"loss": Loss, "optimizer": Optimizer, "schedule": Schedule}
        return cls(**values | {name: kind(values[name]) for name, kind in kinds.items()})

    def command(self) -> str:
        """The command that repeats this run, with every flag, so that defaults may change."""
        flags = []
        for name, value in asdict(self).items():
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                flags.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                flags.append(f"--{flag} {value}")
        return " ".join(["lenet-deploy train", *flags])
