"""Figures in docs/scale.md against what was recorded."""

import re

import pytest

pytest.importorskip("simpy")

from processes import REPOSITORY

from benchmarks.fleet import costs, page, sizing

TEXT = page.PAGE.read_text()


def shown(name):
    """A table of the page."""
    (found,) = re.findall(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", TEXT, re.DOTALL)
    return found


def test_the_tables_follow_from_the_recorded_results():
    made = page.tables(costs.CORE_PRICE, costs.GPU_PRICE)
    for name in page.ARITHMETIC:
        assert shown(name) == made[name](), "python -m benchmarks.fleet page --quick"
    assert set(re.findall(r"<!-- (\w+) -->\n\|", TEXT)) | {"recorded"} == set(made)


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
    """Roughly: a record that is repeated on the same machine must not change the prose."""
    binary, grpc = costs.server_us("binary"), costs.server_us("gRPC")
    alone, batch = costs.image_us("native", 1), costs.image_us("native", 512)
    ray = {(r["server"], r["beside"]): r["cpu_us"] for r in costs.read(costs.RAY)["serving"]
           if (r["body"], r["connections"]) == ("binary", 16)}  # fmt: skip
    proxied, plain = (ray[name, name] for name in ("Ray Serve, HAProxy", "Ray Serve"))
    ours = ray["`lenet-deploy serve`", "Ray Serve"]
    for sentence, figures in {
        r"(\d+) to (\d+) cores of servers": (binary, grpc),
        r"costs a server (\d+) to (\d+) us online and (\d+) us in a batch": (binary, grpc, batch),
        r"batch is (\d+) to (\d+) times as cheap": (binary / batch, grpc / batch),
        r"([\d.]+) ms of CPU with its HAProxy and (\d+) ms without, (\d+) and (\d+) times":
            (proxied / 1e3, plain / 1e3, proxied / ours, plain / ours),
    }.items():  # fmt: skip
        (found,) = re.findall(sentence, " ".join(TEXT.split()))
        assert [float(one) for one in found] == pytest.approx(figures, rel=0.15), sentence
    assert alone / binary < 0.1
    assert 1 - costs.BODY_BYTES["pixels, JSON"] / costs.BODY_BYTES["JSON"] > 0.845


def test_what_the_page_names_is_there():
    for target in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (page.PAGE.parent / target).exists(), target
    for path in re.findall(r"`((?:tests|benchmarks)/[\w/.-]+)`", TEXT):
        assert (REPOSITORY / path).exists(), path
