"""Puts every case to a server, and keeps Triton's answers in a file."""

import json
import socket
from pathlib import Path
from typing import Any

from tests.serve.differential import binary, bodies, calls, framing, paths, wire
from tests.serve.differential.wire import Answer, Case

RECORDING = Path(__file__).with_name("triton-2.51.json")
REST: dict[str, Case] = {}
for table in (paths.CASES, bodies.CASES, binary.CASES, framing.CASES):
    assert not REST.keys() & table.keys(), REST.keys() & table.keys()
    REST |= table
GRPC = calls.CALLS
Answers = dict[str, list[Answer]]
# Triton's own parser takes these sometimes so and sometimes so, as the packets come.
UNSTEADY = {"GET model of 5000 letters", "head in many packets"}


def over_rest(port: int) -> Answers:
    """What a server answers to each case of REST."""
    answers: Answers = {}
    for name, case in REST.items():
        answers[name] = wire.send(port, case)
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
        except OSError as error:
            raise RuntimeError(f"the server died of {name!r}") from error
    return answers


def over_grpc(port: int) -> Answers:
    """What a server answers to each case of gRPC."""
    import grpc

    options = [("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        return {name: calls.send(channel, case) for name, case in GRPC.items()}


def answers(http: int, grpc: int) -> dict[str, Answers]:
    """What a server answers to every case, by protocol."""
    return {"REST": over_rest(http), "gRPC": over_grpc(grpc)}


def steady(answers: dict[str, Answers]) -> dict[str, Answers]:
    """Triton's answers, but for those that vary."""
    varies = {name: [Answer("varies")] for name in UNSTEADY & answers["REST"].keys()}
    return answers | {"REST": answers["REST"] | varies}


def write(document: dict[str, Answers]) -> None:
    """Keep what Triton answered, one case a line."""
    lines = [
        f"{json.dumps(protocol)}: {{\n"
        + ",\n".join(
            f"{json.dumps(name)}: {json.dumps(as_json(each), sort_keys=True)}"
            for name, each in cases.items()
        )
        + "\n}"
        for protocol, cases in document.items()
    ]
    RECORDING.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def recorded() -> dict[str, Answers]:
    """What Triton answered when it was asked last."""
    return {
        protocol: {name: [Answer(*a) for a in answers] for name, answers in cases.items()}
        for protocol, cases in json.loads(RECORDING.read_text()).items()
    }


def as_json(answers: list[Answer]) -> Any:
    """Statuses and bodies alone."""
    return [[each.status, each.body] for each in answers]
