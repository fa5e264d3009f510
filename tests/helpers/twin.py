"""The same pictures through `lenet_runtime.images` and through its JavaScript twin, in Node."""

import json
import shutil
import struct
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import lenet_export
from lenet_runtime.errors import InputError
from lenet_runtime.images.pictures import mnist_style
from lenet_runtime.images.preprocess import NET, Preprocessing, to_batch

MODULE = Path(lenet_export.__file__).parent / "formats" / "web" / "js" / "preprocess.js"
MNIST = Preprocessing()
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def by_python(picture, preprocessing=MNIST, shape=NET):
    """What Python makes of a picture of mode RGBA, as `by_node` has it."""
    try:
        digit = mnist_style(picture)
    except InputError as error:
        return {"error": str(error)}
    image = to_batch(picture, preprocessing, shape)
    return {
        "digit": digit.pixels.tobytes().hex(),
        "image": image.tobytes().hex(),
        "notes": [*digit.steps, *digit.warnings],
        "warnings": list(digit.warnings),
        "inverted": digit.inverted,
    }


def by_node(pictures, **options):
    """What JavaScript makes of pictures of mode RGBA, in one process; and milliseconds of each."""
    stream = b"".join(struct.pack("<II", *p.size) + p.tobytes() for p in pictures)
    script = Path(__file__).with_name("twin.mjs")
    command = [shutil.which("node"), str(script), MODULE.as_uri(), json.dumps(options)]
    run = subprocess.run(command, input=stream, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    return answers, [answer.pop("ms") for answer in answers]


def differences(pictures, preprocessing=MNIST, shape=NET):
    """Places of the pictures whose answers differ, with a word on each."""
    size = {"height": shape[1], "width": shape[2]}
    answers, _ = by_node(pictures, **asdict(preprocessing), **size)
    assert len(answers) == len(pictures)
    for place, (picture, answer) in enumerate(zip(pictures, answers, strict=True)):
        expected = by_python(picture, preprocessing, shape)
        if answer == expected:
            continue
        if "digit" in answer and "digit" in expected:
            one, other = (
                np.frombuffer(bytes.fromhex(a["digit"]), np.uint8).astype(int)
                for a in (answer, expected)
            )
            word = f"{np.count_nonzero(one != other)} bytes, by up to {np.abs(one - other).max()}"
            if one.tolist() == other.tolist():
                word = "the same digit"
        else:
            word = f"{answer.get('error')} for {expected.get('error')}"
        yield place, picture.size, word, answer.get("notes"), expected.get("notes")
