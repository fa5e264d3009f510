"""Errors: what a foreign file puts into a message neither controls a terminal nor fills a log."""

import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lenet_runtime import errors
from lenet_runtime.errors import DeployError, first_line, printable

TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates, too


@given(TEXT, st.integers(0, 60))
@example("\x1b[2J" * 9, 20)
@example("\ud800" * 70, 60)
@example("\U000e0001" * 3, 25)
def test_what_is_shown_is_printable_and_short(text, limit):
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.replace("\n", "").isprintable()
    assert printable(shown, limit) == shown
    shown.encode()  # strict UTF-8
    if text.isprintable() and len(text) <= limit:
        assert shown == text


def test_what_is_too_long_keeps_both_its_ends():
    text = printable("model.onnx: " + "x" * 10**6 + "; export it again", 100)
    assert len(text) == 100
    assert text.startswith("model.onnx: xxx")
    assert text.endswith("xxx; export it again")
    assert " [...] " in text


def test_characters_are_spelt_as_python_spells_them():
    text = "a\x1b[2J\u202e\ud800\u00e9\n"
    assert printable(text) == r"a\x1b[2J\u202e\ud800" + "\u00e9\n"


KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.DeployError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_printable_and_survives_a_pickle(kind):
    error = kind("\x1b]0;\udc9c" + "long" * 10**5)
    assert issubclass(kind, DeployError)
    assert str(error).isprintable()
    assert len(str(error)) == 4000
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_first_line_of_an_engines_essay_is_quoted():
    essay = RuntimeError("\n\x1b[96mIt failed\x1b[0m here.\n\nNext steps:\n- report it")
    assert first_line(essay) == "It failed here."
    script = RuntimeError(
        "The following operation failed in the TorchScript interpreter.\nTraceback:\nboom\n"
    )
    assert first_line(script) == "boom"
    assert first_line(KeyError()) == "KeyError"
    assert len(first_line(ValueError("x" * 9999))) <= 400
