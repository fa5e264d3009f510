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
        name: The tensor's name. Empty, with an empty datatype, for the raw body of REST's
            ``Inference-Header-Content-Length: 0``, whose meaning the model knows.
        datatype: A key of `DTYPES`, or ``BYTES``.
        shape: The tensor's dimensions.
        data: The elements: an array of this dtype and shape; for ``BYTES`` a flat list; for a raw
            body its bytes.
        parameters: What the request says about the tensor.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: NDArray[Any] | list[bytes] | bytes
    parameters: dict[str, Parameter] = field(default_factory=dict)


@dataclass(slots=True)
class RequestedOutput:
    """An output that a request asks for.

    Attributes:
        name: The output's name.
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
        protocol: What the request came by, ``http`` or ``grpc``; a label of the metrics.
        begun_ns: The moment of `time.perf_counter_ns` when the request was there whole, which its
            total time counts from; 0 for the moment when it was submitted.
        tag: What else the client calls the request, REST's ``X-Request-Id``; for the log.
        trace: W3C's ``traceparent``, as `lenet_serve.tracing.parse` accepts it; empty for none.
            An adapter sends it back with the answer.
        warnings: What is doubtful about each picture; `Model.images` writes it.
        pixels: What was made of pixels or pictures, ``(N, h, w)`` or with three channels behind;
            `Model.images` writes it.
    """

    model: str
    version: str = ""
    id: str = ""
    parameters: dict[str, Parameter] = field(default_factory=dict)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[RequestedOutput] = field(default_factory=list)
    binary: bool = False
    protocol: str = "http"
    begun_ns: int = 0
    tag: str = ""
    trace: str = ""
    warnings: tuple[tuple[str, ...], ...] = ()
    pixels: NDArray[Any] | None = None


@dataclass(slots=True)
class Times:
    """Where a request's time went, in nanoseconds.

    Attributes:
        queue_ns: From the moment when the images were ready until they were computed.
        input_ns: Checking and preparing the images.
        infer_ns: The engine's, of the whole batch that the images were in.
        output_ns: Making the outputs of the logits.
        total_ns: From `InferRequest.begun_ns` until the answer was made, still to be encoded.
        batch: Images that the engine computed at once, in the first request of them; 0 in the
            others, so that each run of the engine is counted once.
    """

    queue_ns: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0
    total_ns: int = 0
    batch: int = 0


@dataclass(slots=True)
class InferResponse:
    """The answer to an `InferRequest`.

    Attributes:
        model: The model's name.
        version: The version that answered.
        id: The request's own.
        outputs: The outputs, in the order that was asked for.
        parameters: What else there is to say, such as doubts about pictures.
        rows: Images in the request.
        times: Where the request's time went.
    """

    model: str
    version: str
    id: str
    outputs: list[Tensor]
    parameters: dict[str, Parameter] = field(default_factory=dict)
    rows: int = 0
    times: Times = field(default_factory=Times)
