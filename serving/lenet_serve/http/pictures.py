"""``POST /v1/predict``: digits in picture files, for people with ``curl -F picture=@seven.png``."""

import re
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_serve.errors import ServeError
from lenet_serve.http.context import Context
from lenet_serve.http.messages import Pending, Reply, Request, json_reply
from lenet_serve.protocol.infer import InferRequest, RequestedOutput, Tensor, Times

_OUTPUTS = [RequestedOutput("labels"), RequestedOutput("probabilities")]


def predict(context: Context, request: Request) -> Pending:
    """Answer which digit each picture shows, in a thread: decoding takes milliseconds."""
    return Pending(context.threads.submit(_predict, context, request), lambda reply: reply)


def _predict(context: Context, request: Request) -> Reply:
    from urllib.parse import parse_qs

    service = context.service
    files = pictures(request)
    names = sorted({s.name for s in service.repository.index() if s.state == "READY"})
    query = parse_qs(request.query.decode("latin-1"))
    model = query.get("model", [""])[0] or (names[0] if len(names) == 1 else "")
    if not model:
        raise ServeError(f"model: expected ?model= and one of {', '.join(names)}, found none")
    contents = [content for _, content in files]
    asked = InferRequest(
        model,
        inputs=[Tensor("file", "BYTES", (len(files),), contents)],
        outputs=_OUTPUTS,
        begun_ns=request.begun_ns,
    )
    answer = service.infer(asked)
    labels, probabilities = (tensor.data for tensor in answer.outputs)
    rows: NDArray[Any] = np.asarray(probabilities)
    known = service.repository.get(model).session.manifest.labels
    predictions: list[dict[str, Any]] = [
        {
            "file": name,
            "label": bytes(label).decode(),
            "probability": float(row.max()),
            "probabilities": dict(zip(known, row.tolist(), strict=True)),
        }
        for (name, _), label, row in zip(files, labels, rows, strict=True)
    ]
    if query.get("pixels") == ["true"] and asked.pixels is not None:
        for prediction, pixels in zip(predictions, asked.pixels.tolist(), strict=True):
            prediction["pixels"] = pixels  # what the network saw, before it was normalised
    document = {"model_name": answer.model, "model_version": answer.version}
    reply = json_reply(document | answer.parameters | {"predictions": predictions})
    reply.headers.append((b"server-timing", _timing(answer.times, request.begun_ns)))
    return reply


def _timing(times: Times, begun_ns: int) -> bytes:
    """Where the time went, as the header ``Server-Timing`` says it: in milliseconds."""
    parts = {
        "total": time.perf_counter_ns() - begun_ns, "input": times.input_ns,
        "queue": times.queue_ns, "infer": times.infer_ns, "output": times.output_ns,
    }  # fmt: skip
    return ", ".join(f"{name};dur={ns / 1e6:.4f}" for name, ns in parts.items()).encode()


def pictures(request: Request) -> list[tuple[str, bytes]]:
    """The files in a request's body, each with the name that the client gave it.

    Raises:
        ServeError: The body is no form with files.
    """
    kind = request.headers.get(b"content-type", b"").decode("latin-1")
    if not kind.lower().startswith("multipart/form-data"):
        if kind.lower().startswith("application/x-www-form-urlencoded") or not request.body:
            raise ServeError(
                "body: expected picture files, as curl -F picture=@FILE sends them, or one with "
                "Content-Type: image/png, found neither"
            )
        return [("", request.body)]
    boundary = re.search(r'boundary="?([^";,]{1,70})"?', kind)
    if not boundary:
        raise ServeError(
            "Content-Type: expected multipart/form-data; boundary=..., found no bounds"
        )
    files = [*_parts(request.body, boundary[1].encode("latin-1"))]
    if not files:
        raise ServeError("body: expected at least one file in the form, found none")
    return files


def _parts(body: bytes, boundary: bytes) -> list[tuple[str, bytes]]:
    from email.parser import HeaderParser

    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if not parts or not parts[-1].startswith(b"--"):
        raise ServeError("body: expected a form that ends with its boundary, found no such end")
    files = []
    for part in parts[:-1]:
        head, found, content = part.partition(b"\r\n\r\n")
        if not found or not part.startswith(b"\r\n"):
            raise ServeError("body: expected headers in each part of the form, found none")
        headers = HeaderParser().parsestr(head[2:].decode(errors="replace"))
        name = headers.get_filename()
        if name is not None:  # a field of text is no picture
            files.append((name, content))
    return files
