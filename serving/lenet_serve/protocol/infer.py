"""What an inference asks and answers, whatever it travelled in."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Parameter = str | int | float | bool

# The protocol's names of the types that have a NumPy dtype. BYTES are lists of bytes here.
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"{sign}INT{bits}": np.dtype(f"{sign.lower()}int{bits}")
       for sign in ("", "U") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
}  # fmt: skip


@dataclass(slots=True)
class Tensor:
    """One input or output.

    Attributes:
        name: Its name.
        datatype: A key of `DTYPES`, or ``BYTES``.
        shape: Its dimensions.
        data: Its elements, of this dtype and shape; for ``BYTES`` a flat list.
        parameters: What the request says about it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: NDArray[Any] | list[bytes]
    parameters: dict[str, Parameter] = field(default_factory=dict)


@dataclass(slots=True)
class RequestedOutput:
    """An output that a request asks for.

    Attributes:
        name: Its name.
        binary: Whether it is to be sent as raw bytes; of REST alone.
        classes: The most probable classes that are asked for, by Triton's classification
            extension; 0 for the tensor itself.
    """

    name: str
    binary: bool = False
    classes: int = 0


@dataclass(slots=True)
class InferRequest:
    """A request for inference.

    Attributes:
        model: The model's name.
        version: The version; empty for the one that the model serves by default.
        id: What the client calls the request; empty where it did not say.
        parameters: What else the client said.
        inputs: The inputs that it sent.
        outputs: The outputs that it asks for; empty for the default ones.
        binary: Whether outputs that are not listed are to be sent as raw bytes; of REST alone.
    """

    model: str
    version: str = ""
    id: str = ""
    parameters: dict[str, Parameter] = field(default_factory=dict)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[RequestedOutput] = field(default_factory=list)
    binary: bool = False


@dataclass(slots=True)
class InferResponse:
    """The answer to an `InferRequest`, its outputs in the order that was asked for."""

    model: str
    version: str
    id: str
    outputs: list[Tensor]
