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


def compute(core_price: float = CORE_PRICE, gpu_price: float = GPU_PRICE) -> str:
    """What the network alone costs, by engine and batch."""
    lines = [
        "| engine | images at once | us an image | cores or GPUs for 10^9 a day | for 10^6 a "
        "second | price of 10^6 pictures |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    peers = {(r["peer"], r["batch_size"]): r["p50_us"] for r in read(PEERS)["results"]}
    for name, peer in CPU_ROWS.items():
        for batch in (1, 512):
            lines.append(_row(name, batch, peers[peer, batch] / batch, core_price))
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
    per_day, per_second = BILLION * us / MILLION / DAY_S, us
    cost = f"{us / HOUR_S * price:.6f}"
    return f"| {name} | {batch:,} | {us:.3g} | {per_day:.2g} | {per_second:.2g} | {cost} |"


def serving(core_price: float = CORE_PRICE) -> str:
    """What a request of one digit costs the server, and how little of it the network is."""
    lines = [
        "| body | bytes | server CPU us | of it the network | cores for 10^9 a day | for 10^6 a "
        "second | Gbit/s in, at 10^6 a second | price of 10^6 requests |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    ours = {r["body"]: r for r in read(SERVE)["results"]
            if r["peer"] == "lenet-deploy" and r["connections"] == 16}  # fmt: skip
    network = next(r["p50_us"] for r in read(PEERS)["results"]
                   if (r["peer"], r["batch_size"]) == (CPU_ROWS["native"], 1))  # fmt: skip
    for name, body in BODIES.items():
        us = ours[body]["cpu_us"]
        size = BODY_BYTES[name]
        lines.append(
            f"| {name} | {size:,} | {us:.0f} | {network / us:.0%} | "
            f"{us * BILLION / MILLION / DAY_S:.2g} | {us:.0f} | {size * 8 / 1000:.0f} | "
            f"{us / HOUR_S * core_price:.5f} |"
        )
    return "\n".join(lines)
