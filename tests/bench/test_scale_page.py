"""Figures in docs/scale.md against what was recorded."""

import re

import pytest

pytest.importorskip("simpy")

from processes import REPOSITORY

from benchmarks.fleet import costs, page, sizing, table

TEXT = page.PAGE.read_text()


def shown(name):
    """A table of the page."""
    (found,) = re.findall(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", TEXT, re.DOTALL)
    return found


def server_us(body):
    rows = costs.read(costs.SERVE)["results"]
    own = [r for r in rows if r["peer"] == "lenet-deploy" and r["connections"] == 16]
    return {r["body"]: r["cpu_us"] for r in own}[body]


def call_us(peer, batch):
    """Microseconds an image."""
    rows = costs.read(costs.PEERS)["results"]
    return {(r["peer"], r["batch_size"]): r["p50_us"] for r in rows}[peer, batch] / batch


def test_the_tables_follow_from_the_recorded_results():
    assert shown("compute") == costs.compute()
    assert shown("serving") == costs.serving()
    assert shown("recorded") == table.recorded(costs.newest()).rstrip()
    assert set(re.findall(r"<!-- (\w+) -->\n\|", TEXT)) | {"recorded"} == set(page.tables(1, 1))


def test_the_simulations_tables_are_of_these_service_times():
    """One cell of them: all take minutes. NumPy may draw otherwise in other versions."""
    body = costs.newest()["bodies"]["binary"]
    row = next(line for line in shown("load").splitlines() if line.startswith("| 0.5 |"))
    cell = float(row.split("|")[2].replace(",", ""))
    assert sizing.at_load(body, 0.5, 1, "least").percentile_us(99) == pytest.approx(cell, rel=0.1)


def test_the_bodies_are_as_long_as_said():
    pytest.importorskip("tritonclient.grpc")
    from benchmarks.serve.bodies import bodies

    sent = bodies()
    assert {name: len(sent[body].data) for name, body in costs.BODIES.items()} == costs.BODY_BYTES


def test_the_proses_figures_are_the_records():
    native, int8, ort = (costs.CPU_ROWS[name] for name in ("native", "native int8", "ort-cpu"))
    json_us, pixels, binary, grpc = map(server_us, costs.BODIES.values())
    many = costs.newest()["bodies"]["24 as JSON"]["mean_us"] / 24
    one = call_us(native, 1)
    batch = call_us(native, 512)
    for sentence in (
        f"The network is {one / grpc:.0%} to {one / binary:.0%} of an online request",
        f"{binary:.0f} to {grpc:.0f} cores of servers",
        f"binary tensors | {json_us - binary:.0f} us of {json_us:.0f} |",
        f"`pixels` in JSON | {json_us - pixels:.0f} us, and 85% of the bytes |",
        f"`ort-cpu` to `native` | {call_us(ort, 1) - one:.0f} us |",
        f"`native` int8 | {one - call_us(int8, 1):.1f} us |",
        f"from {pixels:.0f} us to {many:.0f} us a digit",
        f"gRPC to binary over HTTP | {grpc - binary:.0f} us |",
        f"{binary:.0f} to {grpc:.0f} us online and {batch:.0f} us in a batch",
        f"batch is {binary / batch:.0f} to {grpc / batch:.0f} times as cheap",
    ):
        assert sentence in " ".join(TEXT.split()), sentence
    assert 1 - costs.BODY_BYTES["pixels, JSON"] / costs.BODY_BYTES["JSON"] == pytest.approx(
        0.85, abs=0.005
    )


def test_what_the_page_names_is_there():
    for target in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (page.PAGE.parent / target).exists(), target
    for path in re.findall(r"`((?:tests|benchmarks)/[\w/.-]+)`", TEXT):
        assert (REPOSITORY / path).exists(), path
