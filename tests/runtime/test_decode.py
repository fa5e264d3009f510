"""Strict JSON: what is none, or says a thing twice, is refused; the rest becomes a tree."""

import json
import math
import time
from dataclasses import dataclass

import pytest
from artifact_files import DOCUMENT, MANIFEST, OBJECTS, at, make_manifest, read

from lenet_runtime.artifact import decode
from lenet_runtime.errors import ArtifactError
from lenet_runtime.parity import Comparison, ParityReport, Tolerance


@pytest.mark.parametrize("path", OBJECTS, ids=str)
def test_duplicate_keys_are_refused_at_any_depth(path):
    """The first says what the last says, so that only the repetition is wrong."""
    text = json.dumps(DOCUMENT)
    node = json.dumps(at(path, DOCUMENT))
    key, value = next(iter(at(path, DOCUMENT).items()))
    twice = "{" + f"{json.dumps(key)}: {json.dumps(value)}, " + node[1:]
    with pytest.raises(ArtifactError, match=rf"duplicate keys \['{key}'\]"):
        read(text.replace(node, twice, 1).encode())


def test_keys_that_differ_in_spelling_alone_are_duplicates():
    text = MANIFEST.to_bytes().replace(b'"format"', b'"\\u0066ormat": "onnx", "format"', 1)
    with pytest.raises(ArtifactError, match="duplicate keys"):
        read(text)


def test_a_hundred_thousand_keys_are_no_burden():
    """Counting each repeated key among all of them took minutes. (CPU time, with much room.)"""
    text = b"{" + b",".join(b'"%x":0' % i for i in range(100_000)) + b',"0":1}'
    start = time.process_time()
    with pytest.raises(ArtifactError, match="duplicate"):
        read(text)
    assert time.process_time() - start < 20


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_not_finite_are_refused(number):
    text = MANIFEST.to_bytes().replace(b'"mean": 0.1307', f'"mean": {number}'.encode())
    with pytest.raises(ArtifactError, match=r"not a JSON number|finite"):
        read(text)


@pytest.mark.parametrize("text", [b"NaN", b"[-Infinity]", b'{"a": {"b": Infinity}}'])
def test_what_json_does_not_have_is_refused_where_nothing_else_would(text):
    with pytest.raises(ValueError, match="is not a JSON number"):
        decode.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0",
        b"null",
        b"[]",
        b"1",
        b'"manifest"',
        b"{",
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"a": "\xc3"}',
        b"{'a': 1}",
        MANIFEST.to_bytes()[:-3],
        MANIFEST.to_bytes() + b"{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"schema_version": ' + b"[" * 900 + b"]" * 900 + b"}",
        b"1" * 10_000,
        MANIFEST.to_bytes().decode().encode("utf-16"),
    ],
    ids=lambda text: f"{text[:12]!r}-{len(text)}",
)
def test_what_is_not_a_json_object_in_utf8_is_refused(text):
    with pytest.raises(ArtifactError, match=r"manifest\.json: not a manifest"):
        read(text)


def test_a_manifest_that_is_not_finite_cannot_be_written():
    spoilt = Comparison("digits", 1, math.nan, None, None, None, None, "")
    report = ParityReport("fp32", Tolerance(1, 1, 1, 1), (spoilt,))
    with pytest.raises(ValueError, match="JSON compliant"):
        make_manifest(parity=report).to_bytes()


@dataclass(frozen=True)
class Inner:
    number: float


@dataclass(frozen=True)
class Outer:
    inner: Inner
    items: tuple[Inner, ...]
    named: dict[str, int]
    maybe: str | None


def test_decode_builds_the_tree():
    value = {"inner": {"number": 1}, "items": [{"number": 2.5}], "named": {"a": 1}, "maybe": None}
    assert decode.decode(Outer, value) == Outer(Inner(1.0), (Inner(2.5),), {"a": 1}, None)


def test_decode_says_where():
    value = {"inner": {"number": 1}, "items": [{"number": 1}, {"number": "2"}], "named": {}}
    value["maybe"] = "said"
    with pytest.raises(ValueError, match=r"Outer\.items\[1\]\.number: expected float, found str"):
        decode.decode(Outer, value)
    value |= {"items": [], "named": {"a\n": None}}
    with pytest.raises(ValueError, match=r"Outer\.named\['a\\n'\]: expected int"):
        decode.decode(Outer, value)
