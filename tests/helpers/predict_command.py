"""`lenet-deploy predict` in this process, with a fake network that needs no engine."""

import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import lenet_deploy.cache
import lenet_runtime
from lenet_deploy.cli import app
from lenet_deploy.cli.console import stdout
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.prediction import from_logits
from lenet_runtime.images.preprocess import Preprocessing, to_batch

DIGITS = load_digits()
LABELS = "0123456789"
BUNDLED = to_batch(DIGITS.images, Preprocessing()).reshape(60, -1)


class FakeSession:
    """Answers with the label of the bundled digit that is most alike."""

    backend = "fake"

    def __init__(self, path, batch_size=None):
        manifest = SimpleNamespace(
            batch_size=batch_size, preprocessing=Preprocessing(), image_shape=(1, 32, 32)
        )
        self.artifact = SimpleNamespace(path=Path(path), manifest=manifest)
        self.batches = []
        self.closed = False

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.closed = True

    def predict(self, images, top_k=3):
        self.batches.append(len(images))
        flat = to_batch(images, Preprocessing()).reshape(len(images), -1)
        nearest = np.square(flat[:, None] - BUNDLED).mean(2).argmin(1)
        logits = 9 * np.eye(10, dtype=np.float32)[DIGITS.labels[nearest]]
        return from_logits(logits, LABELS, top_k)


def run(*arguments, width="80", code=0):
    # Not COLUMNS: where that is set at the import, as in xdist's workers, the console keeps it.
    with patch.object(stdout, "_width", int(width)):
        result = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def predict(*arguments, code=0):
    """Run the command; returns its predictions and its errors by path."""
    document = json.loads(run(*arguments, "--json", code=code).stdout)
    return document["predictions"], {error["path"] for error in document["errors"]}


def values(predictions, key):
    return [prediction[key] for prediction in predictions]


@pytest.fixture
def fake(monkeypatch):
    """The sessions that `load` was asked for, and its arguments."""
    calls = SimpleNamespace(sessions=[], arguments=[], batch_size=None)

    def load(path, **arguments):
        calls.sessions.append(FakeSession(path, calls.batch_size))
        calls.arguments.append(arguments)
        return calls.sessions[-1]

    monkeypatch.setattr(lenet_runtime, "load", load)
    monkeypatch.setattr(lenet_deploy.cache, "default_artifact", lambda **_: Path("default"))
    return calls


@pytest.fixture
def pictures(tmp_path):
    """A folder of a drawn 7, a white-on-black 2, a text, a hidden and a nested picture."""
    for name, index, paper in (("7.png", 0, 235), ("2.jpg", 1, 0), (".hidden.png", 2, 0)):
        alpha = Image.fromarray(DIGITS.images[index]).resize((200, 200))
        picture = Image.new("L", (400, 300), paper)
        picture.paste(255 - paper, (120, 40, 320, 240), alpha)
        picture.save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "nested").mkdir()
    Image.fromarray(DIGITS.images[3]).save(tmp_path / "nested" / "0.png")
    return tmp_path
