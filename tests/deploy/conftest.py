"""Fixtures of the command line's tests."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from predict_command import DIGITS, FakeSession

import lenet_deploy.cache
import lenet_runtime


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
