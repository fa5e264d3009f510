"""The tables of `docs/scale.md` that follow from recorded results by arithmetic alone.

Prices are variables: the defaults are examples, of no vendor and no date.
"""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
PEERS = "peers-x86-64-v4-2026-11-24.json"
GPU = "nvidia-h100-80gb-hbm3-2026-11-27.json"
SERVE = "serve-x86-64-v4-2026-11-27.json"
RAY = "ray-x86-64-v4-2026-11-27.json"
CORE_PRICE, GPU_PRICE = 0.04, 3.00  # of an hour: examples
MILLION, BILLION, DAY_S, HOUR_S = 10**6, 10**9, 86_400, 3600
CPU_ROWS = {
    "native": "lenet-deploy native",
    "native int8": "lenet-deploy native int8",
    "ort-cpu": "lenet-deploy ort-cpu",
    "eager PyTorch": "eager",
}
BODIES = {"JSON": "JSON", "pixels, JSON": "pixels JSON", "binary": "binary", "gRPC": "gRPC"}
# Bytes of a request's body, which `tests/bench/test_scale_page.py` holds against the bodies that
# were sent; its answer and the headers, some 400 bytes, come on top.
BODY_BYTES = {"JSON": 12_175, "pixels, JSON": 1_834, "binary": 4_259, "gRPC": 4_133}


def read(name: str) -> dict[str, Any]:
    """A recorded result."""
    document: dict[str, Any] = json.loads((RESULTS / name).read_text())
    return document


def newest() -> dict[str, Any]:
    """The service times that were recorded last."""
    return read(max(path.name for path in RESULTS.glob("fleet-*.json")))


def image_us(engine: str, batch: int) -> float:
    """Microseconds of a core for an image, by the engine's name in `CPU_ROWS`."""
    calls = {(r["peer"], r["batch_size"]): r["p50_us"] for r in read(PEERS)["results"]}
    return float(calls[CPU_ROWS[engine], batch]) / batch


def server_us(body: str) -> float:
    """Microseconds of a server's CPU for a request, by the body's name in `BODIES`."""
    ours = [r for r in read(SERVE)["results"] if r["peer"] == "lenet-deploy"]
    return float({r["body"]: r["cpu_us"] for r in ours if r["connections"] == 16}[BODIES[body]])


def savings() -> str:
    """What a change saves of a request's CPU."""
    json_us, pixels, binary, grpc = map(server_us, BODIES)
    native, many = image_us("native", 1), newest()["bodies"]["24 as JSON"]["mean_us"] / 24
    changes = {
        "JSON of 1,024 floats to binary tensors": (json_us, binary),
        "JSON of floats to `pixels` in JSON, with 85% fewer bytes": (json_us, pixels),
        "one digit a request, `pixels` in JSON, to 24 in one (a digit)": (pixels, many),
        "gRPC to binary tensors over HTTP": (grpc, binary),
        "of it, `ort-cpu` to `native`": (image_us("ort-cpu", 1), native),
        "of it, `native` to `native` int8": (native, image_us("native int8", 1)),
    }
    lines = ["| what you change | us before | us after |", "|---|---:|---:|"]
    lines += [f"| {name} | {old:.3g} | {new:.3g} |" for name, (old, new) in changes.items()]
    return "\n".join(lines)


def compute(core_price: float = CORE_PRICE, gpu_price: float = GPU_PRICE) -> str:
    """What the network alone costs, by engine and batch."""
    lines = [
        "| engine | images at once | us an image | cores or GPUs for 10^9 a day | for 10^6 a "
        "second | price of 10^6 pictures |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in CPU_ROWS:
        for batch in (1, 512):
            lines.append(_row(name, batch, image_us(name, batch), core_price))
    latency = read(GPU)["latency"]
    calls = {(r["engine"], r["batch_size"]): r["p50_us"] for r in latency["results"]}
    alone = {
        (r["engine"], r["batch_size"]): r["figures"]["device"]["p50_us"]
        for r in latency["device"]["results"] if not r["graph"]
    }  # fmt: skip
    for name, engine, times, batch in (
        ("fused-cuda fp32, from host memory", "fused-cuda", calls, 1),
        ("fused-cuda fp32, from host memory", "fused-cuda", calls, 65_536),
        ("fused-cuda fp16, in the GPU's memory", "fused-cuda fp16", alone, 65_536),
    ):
        lines.append(_row(name, batch, times[engine, batch] / batch, gpu_price))
    return "\n".join(lines)


def _row(name: str, batch: int, us: float, price: float) -> str:
    per_day = BILLION * us / MILLION / DAY_S
    cost = f"{us / HOUR_S * price:.6f}"
    return f"| {name} | {batch:,} | {us:.3g} | {_short(per_day)} | {_short(us)} | {cost} |"


def _short(number: float) -> str:
    return f"{number:.2g}" if number < 10 else f"{number:,.0f}"


def serving(core_price: float = CORE_PRICE) -> str:
    """What a request of one digit costs the server, and how little of it the network is."""
    lines = [
        "| body | bytes | server CPU us | of it the network | cores for 10^9 a day | for 10^6 a "
        "second | Gbit/s in, at 10^6 a second | price of 10^6 requests |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    network = image_us("native", 1)
    for name in BODIES:
        us = server_us(name)
        size = BODY_BYTES[name]
        lines.append(
            f"| {name} | {size:,} | {us:.0f} | {network / us:.0%} | "
            f"{_short(us * BILLION / MILLION / DAY_S)} | {us:.0f} | {size * 8 / 1000:.0f} | "
            f"{us / HOUR_S * core_price:.5f} |"
        )
    return "\n".join(lines)
