"""The README's picture: drawn from the recorded result, few lines, each with its name."""

import json
import re
from itertools import pairwise

import pytest
from processes import REPOSITORY

from lenet_bench.html.looks import HUES

pytest.importorskip("matplotlib")
pytest.importorskip("torch")

from benchmarks.peers import picture

(RECORD,) = (REPOSITORY / "benchmarks" / "results").glob("peers-*.json")


@pytest.fixture(scope="module")
def svg(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "a.svg"
    picture.draw(json.loads(RECORD.read_text()), path)
    return path.read_text()


def words(svg):
    """The texts of the picture in their order."""
    return re.findall(r"<text[^>]*>(.*?)</text>", svg)


def test_every_line_is_named_and_so_is_the_machine(svg):
    shown = words(svg)
    labels = [label for label, _ in picture.LINES.values()]
    assert 6 <= len(labels) <= 8
    assert all(shown.count(label) == 1 for label in labels)
    machine = json.loads(RECORD.read_text())["fingerprint"]["machine"]
    assert any(text.startswith(f"{machine['cpu']} with AVX-512") for text in shown)
    assert any("1 thread" in text for text in shown)


def test_labels_are_in_the_order_of_their_lines_and_do_not_touch(svg):
    labels = {label for label, _ in picture.LINES.values()}
    texts = re.findall(r'<text[^>]*?transform="translate\([\d.]+ ([\d.]+)\)[^>]*>(.*?)</text>', svg)
    texts = texts or re.findall(r'<text[^>]*?y="([\d.]+)"[^>]*>(.*?)</text>', svg)
    places = sorted((float(y), text) for y, text in texts if text in labels)
    assert len(places) == len(labels)
    points = picture.LABEL * 0.72
    gaps = [below[0] - above[0] for above, below in pairwise(places)]
    assert min(gaps) > 0.95 * points
    assert places[0][1] == "eager PyTorch"
    assert places[-1][1] == "lenet-deploy native, int8"


def test_a_dark_theme_changes_every_colour(svg):
    body = svg.partition("</style>")[2]
    assert not [light for light, _ in HUES.values() if light in body]
    assert set(re.findall(r"#[0-9a-f]{6}", body)) == set()
    assert "prefers-color-scheme: dark" in svg


def test_the_picture_in_the_repository_is_of_the_record(svg):
    """Word by word; another Matplotlib may place them otherwise."""
    assert words(RECORD.with_suffix(".svg").read_text()) == words(svg)
    assert RECORD.with_suffix(".svg").name in (REPOSITORY / "README.md").read_text()


def test_a_peer_that_was_not_measured_is_left_out(tmp_path):
    document = json.loads(RECORD.read_text())
    document["results"] = [r for r in document["results"] if r["peer"] != "TVM tuned"]
    picture.draw(document, tmp_path / "a.svg")
    assert "TVM, tuned" not in words((tmp_path / "a.svg").read_text())


@pytest.mark.parametrize(
    ("heights", "placed"),
    [
        ([0, 100], [0, 100]),
        ([0, 4], [-3, 7]),
        ([0, 4, 8], [-6, 4, 14]),
        ([0, 10, 10, 100], [-10 / 3, 20 / 3, 50 / 3, 100]),
        ([], []),
    ],
)
def test_labels_that_touch_move_apart_as_little_as_they_need(heights, placed):
    assert picture.apart(heights, 10) == pytest.approx(placed)
