"""REST: binary tensors, compressed bodies and content types of infer."""

import gzip
import json
import struct
import zlib
from typing import Any

from tests.serve.differential.wire import PIXELS, Case, document, infer, tensor

RAW = struct.pack("<1024f", *PIXELS)
LENGTH = "Inference-Header-Content-Length"
BINARY = {"binary_data": True}
JSON = json.dumps(document()).encode()


def mixed(
    header: Any = None, raw: bytes = RAW, length: object = None, parameters: Any = None, **keys: Any
) -> Case:
    """A binary request; `parameters` are its input's, `length` the header's value if not right."""
    own = {"binary_data_size": 4096} if parameters is None else parameters
    good = document(tensor(data=None, parameters=own), **keys)
    text = json.dumps(good if header is None else header).encode()
    return infer(text + raw, f"{LENGTH}: {len(text) if length is None else length}")


def sized(size: Any, raw: bytes = RAW) -> Case:
    """A binary request whose binary_data_size says this."""
    return mixed(raw=raw, parameters={"binary_data_size": size})


def raw(data: bytes, *headers: str) -> Case:
    """Raw binary: no JSON at all."""
    return infer(data, f"{LENGTH}: 0", *headers)


def logits(**parameters: Any) -> dict[str, Any]:
    """The output, with parameters."""
    return {"name": "logits", "parameters": parameters}


def encoded(encoding: str, body: bytes, *headers: str) -> Case:
    """A body that names its encoding."""
    return infer(body, f"Content-Encoding: {encoding}", *headers)


def deflate(data: bytes, wbits: int = zlib.MAX_WBITS) -> bytes:
    """Compress; negative `wbits` leave zlib's frame out."""
    squeeze = zlib.compressobj(wbits=wbits)
    return squeeze.compress(data) + squeeze.flush()


def typed(content_type: str) -> Case:
    """The good JSON request, of this content type."""
    return infer(JSON, f"Content-Type: {content_type}")


CASES: dict[str, Case] = {
    "no content-type": infer(JSON),
    "content-type text/plain": typed("text/plain"),
    "content-type xml": typed("application/xml"),
    "binary in, json out": mixed(),
    "binary in/out": mixed(outputs=[logits(**BINARY)]),
    "binary_data_output": mixed(document(
        tensor(data=None, parameters={"binary_data_size": 4096}),
        parameters={"binary_data_output": True})),
    "json in, binary out": infer(document(outputs=[logits(**BINARY)])),
    "binary, no header": infer(json.dumps(document(tensor(
        data=None, parameters={"binary_data_size": 4096}))).encode() + RAW),
    "binary, header too large": mixed(length=10**6),
    "binary, header negative": mixed(length=-1),
    "binary, header abc": mixed(length="abc"),
    "binary, header 99999999999999999999": mixed(length="9" * 20),
    "binary, header short": mixed(length=20),
    "binary, size too small": sized(4092),
    "binary, size too large": sized(4100),
    "binary, payload short": mixed(raw=RAW[:-4]),
    "binary, payload long": mixed(raw=RAW + b"\0\0\0\0"),
    "binary size negative": sized(-1),
    "binary size string": sized("4096"),
    "binary and data both": mixed(document(tensor(parameters={"binary_data_size": 4096}))),
    "raw binary (header 0)": raw(RAW),
    "raw binary wrong size": raw(RAW[:-1]),
    "gzip body": encoded("gzip", gzip.compress(JSON)),
    "deflate body": encoded("deflate", deflate(JSON)),
    "bad gzip body": encoded("gzip", b"nope"),
    "unknown content-encoding br": encoded("br", JSON),
    "accept gzip": infer(JSON, "Accept-Encoding: gzip"),
    # Ours.
    "content-type octet-stream, JSON": typed("application/octet-stream"),
    "content-type with charset": typed("application/json; charset=utf-8"),
    "content-type utf-16": typed("application/json; charset=utf-16"),
    "content-type empty": typed(""),
    "content-type nonsense": typed("\u00ff;;;"),
    "content-type form": typed("application/x-www-form-urlencoded"),
    "content-type multipart": typed("multipart/form-data; boundary=x"),
    "accept only XML": infer(JSON, "Accept: application/xml"),
    "accept deflate": infer(JSON, "Accept-Encoding: deflate"),
    "accept gzip;q=0": infer(JSON, "Accept-Encoding: gzip;q=0"),
    "accept br": infer(JSON, "Accept-Encoding: br"),
    "accept identity;q=0": infer(JSON, "Accept-Encoding: identity;q=0"),
    "gzip of the wrong size": encoded("gzip", gzip.compress(JSON)[:-4] + b"\0\0\0\0"),
    "gzip of the wrong checksum": encoded("gzip", gzip.compress(JSON)[:-8] + b"\0" * 8),
    "gzip truncated": encoded("gzip", gzip.compress(JSON)[:-20]),
    "gzip, garbage behind": encoded("gzip", gzip.compress(JSON) + b"nope"),
    "gzip, two members": encoded("gzip", gzip.compress(JSON[:500]) + gzip.compress(JSON[500:])),
    "gzip empty": encoded("gzip", b""),
    "gzip of nothing": encoded("gzip", gzip.compress(b"")),
    "gzip of garbage": encoded("gzip", gzip.compress(b"nope")),
    "deflate without zlib's frame": encoded("deflate", deflate(JSON, -15)),
    "encoding identity": encoded("identity", JSON),
    "encoding GZIP": encoded("GZIP", gzip.compress(JSON)),
    "encoding x-gzip": encoded("x-gzip", gzip.compress(JSON)),
    "encoding gzip, gzip": encoded("gzip, gzip", gzip.compress(gzip.compress(JSON))),
    "encoding empty": encoded("", JSON),
    "gzip of 20 MiB of spaces": encoded("gzip", gzip.compress(b" " * (20 << 20), 1)),
    "gzip of a binary request": encoded("gzip", gzip.compress(RAW), f"{LENGTH}: 0"),
    "binary, header empty": mixed(length=""),
    "binary, header +": mixed(length="+0"),
    "binary, header 0x10": mixed(length="0x10"),
    "binary, header 1.5": mixed(length="1.5"),
    "binary, header with spaces": mixed(length="  0  "),
    "binary, header is all": infer(JSON, f"{LENGTH}: {len(JSON)}"),
    "binary, header one more": infer(JSON, f"{LENGTH}: {len(JSON) + 1}"),
    "binary, header one less": infer(JSON, f"{LENGTH}: {len(JSON) - 1}"),
    "binary, header twice": infer(RAW, f"{LENGTH}: 0", f"{LENGTH}: 0"),
    "binary, header twice, unlike": infer(RAW, f"{LENGTH}: 0", f"{LENGTH}: 7"),
    "binary size 0": sized(0, b""),
    "binary size 2**63": sized(2**63),
    "binary size 2**70": sized(2**70),
    "binary size double": sized(4096.0),
    "binary size bool": sized(True),
    "binary size null": sized(None),
    "binary, NaN": mixed(raw=struct.pack("<f", float("nan")) + RAW[4:]),
    "binary, infinity": mixed(raw=struct.pack("<f", float("inf")) + RAW[4:]),
    "binary, subnormal": mixed(raw=struct.pack("<I", 1) + RAW[4:]),
    "binary, wrong datatype": mixed(document(tensor(
        data=None, datatype="INT32", parameters={"binary_data_size": 4096}))),
    "binary, wrong shape": mixed(document(tensor(
        data=None, shape=[1, 1, 16, 64], parameters={"binary_data_size": 4096}))),
    "binary, batch of 2": mixed(document(tensor(
        data=None, shape=[2, 1, 32, 32], parameters={"binary_data_size": 8192})), raw=RAW * 2),
    "binary, batch says 2": mixed(document(tensor(
        data=None, shape=[2, 1, 32, 32], parameters={"binary_data_size": 4096}))),
    "binary, two inputs": mixed(document(*[tensor(
        data=None, name=name, parameters={"binary_data_size": 4096})
        for name in ("images", "more")]), raw=RAW * 2),
    "binary, no inputs": mixed({"inputs": []}),
    "binary, JSON is null": mixed(header={}),
    "binary out false": mixed(outputs=[logits(binary_data=False)]),
    "binary out, wanted by the request": infer(document(parameters={"binary_data_output": True})),
    "binary out, overridden": infer(document(
        parameters={"binary_data_output": True}, outputs=[logits(binary_data=False)])),
    "binary out, unlisted": infer(document(
        parameters={"binary_data_output": True}, outputs=[{"name": "logits"}])),
    "binary out of classification": infer(document(outputs=[logits(classification=2, **BINARY)])),
    "binary out, gzip": infer(
        document(outputs=[logits(**BINARY)]), "Accept-Encoding: gzip"),
    "raw binary of 2": raw(RAW * 2),
    "raw binary empty": raw(b""),
    "raw binary NaN": raw(struct.pack("<f", float("nan")) + RAW[4:]),
    "raw binary, octet-stream": raw(RAW, "Content-Type: application/octet-stream"),
    "raw binary, type JSON": raw(RAW, "Content-Type: application/json"),
    "alive after the binaries": infer(document()),
}  # fmt: skip
