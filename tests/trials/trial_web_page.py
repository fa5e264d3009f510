"""The page of a web artifact in the system's Chromium: digits drawn, chosen and dropped."""

import base64
import functools
import http.server
import io
import json
import re
import subprocess
import threading

import numpy as np
import pytest
from drawings import rendered
from drawn_page import answer, bars, canvas_of, chromium, draw, pixels, until, visits
from family import lenet
from http_server import running
from processes import REPOSITORY
from torch import nn

import lenet_export
import lenet_runtime
import lenet_serve
from lenet_deploy.training.checkpoint import load_checkpoint
from lenet_export.formats import web
from lenet_export.request import Request
from lenet_runtime.devices import Device
from lenet_runtime.errors import BackendUnavailable
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing

# A hand's strokes, corner by corner, in percent of the paper.
STROKES = {
    "0": [[52, 20, 36, 30, 31, 52, 38, 74, 52, 80, 66, 70, 69, 46, 62, 26, 50, 20]],
    "1": [[42, 30, 53, 20, 52, 50, 51, 80]],
    "2": [[31, 36, 40, 22, 58, 21, 65, 34, 55, 53, 42, 66, 31, 78, 50, 76, 71, 77]],
    "3": [[34, 24, 52, 18, 64, 28, 60, 42, 47, 48, 62, 55, 66, 68, 54, 80, 33, 76]],
    "4": [[42, 18, 34, 40, 30, 57, 50, 57, 72, 55], [62, 22, 60, 50, 58, 83]],
    "5": [[40, 22, 38, 45, 54, 43, 66, 54, 64, 70, 50, 80, 32, 75], [40, 22, 54, 21, 68, 20]],
    "6": [[62, 18, 46, 32, 36, 52, 36, 70, 48, 81, 62, 75, 65, 62, 54, 54, 40, 62]],
    "7": [[30, 24, 50, 22, 70, 23, 60, 44, 50, 64, 46, 82]],
    "8": [[62, 28, 50, 19, 38, 28, 44, 44, 58, 54, 64, 68, 52, 81, 38, 72, 42, 58, 58, 42, 62, 28]],
    "9": [[64, 34, 54, 21, 40, 26, 38, 40, 48, 49, 62, 42, 64, 34, 62, 58, 58, 82]],
}


def points(corners):
    return (np.reshape(corners, (-1, 2)) / 100).tolist()


BOTH = pytest.mark.parametrize("artifact", ["int8", "fp32"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def artifact(request, tmp_path_factory):
    precision = getattr(request, "param", "int8")
    path = tmp_path_factory.mktemp("web") / precision
    try:
        return lenet_export.export(load_checkpoint(), "web", path, precision=precision)
    except BackendUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def session(artifact):
    with lenet_runtime.load(artifact.path, trust=True) as session:
        yield session


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A handler that logs nothing."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def served(artifact):
    """The page's address on a server of files."""
    handler = functools.partial(Quiet, directory=artifact.path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser, artifact):
    with visits(browser, (artifact.path / "index.html").as_uri()) as visit:
        yield visit


@pytest.fixture(scope="module")
def axe():
    """axe-core's script, from npm."""
    folder = REPOSITORY / "artifacts" / "node"
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        words = ["npm", "install", "--no-fund", "--no-audit", "--prefix", folder, "axe-core@4"]
        try:
            subprocess.run(words, check=True, capture_output=True, timeout=120)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"axe-core cannot be installed: {error}")
    return script.read_text()


@BOTH
def test_bundled_digits_are_answered_as_python_does(visit, session):
    page = visit()
    digits = load_digits()
    order = [
        i for turn in range(6) for k in range(10) for i in np.nonzero(digits.labels == k)[0][[turn]]
    ]
    expected = session.predict(digits.images[order])
    for place, (index, prediction) in enumerate(zip(order, expected, strict=True)):
        if place and place % 10 == 0:
            page.click("#others")
        page.locator("#samples button").nth(place % 10).click()
        assert answer(page) == prediction["label"]
        assert np.array_equal(pixels(page), digits.images[index])
        shown = bars(page)
        for label, share in zip(shown, expected.probabilities[place], strict=True):
            assert shown[label] == pytest.approx(100 * share, abs=0.101)
        page.click("#clear")
        until(page, "#digit", "?")


def test_what_a_hand_draws_is_recognised(visit):
    page = visit()
    right = 0
    for digit, strokes in STROKES.items():
        right += draw(page, *map(points, strokes), steps=2) == digit
        page.keyboard.press("Escape")
        until(page, "#digit", "?")
    assert right > 8


def test_it_answers_while_somebody_draws_and_speaks_once_the_pen_rests(visit):
    page = visit()
    box = page.locator("#paper").bounding_box()
    seen = set()
    for i, (x, y) in enumerate(points(STROKES["2"][0])):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
        if i == 0:
            page.mouse.down()
        until(page, "#sure", re.compile("sure"))
        seen.add(page.inner_text("#digit"))
        assert page.text_content("#spoken") == ""
    page.mouse.up()
    assert answer(page) == "2"
    assert len(seen) > 1
    until(page, "#infer", re.compile("µs"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_it_works_from_a_server_at_any_width_and_asks_nobody(visit, served, scheme, width):
    asked = []
    page = visit(served, viewport={"width": width, "height": 850}, color_scheme=scheme)
    page.on("request", lambda request: asked.append(request.url))
    page.context.set_offline(True)
    assert draw(page, points(STROKES["7"][0])) == "7"
    assert page.evaluate("document.documentElement.scrollWidth") == width
    until(page, "#infer", re.compile("µs"))
    for button in page.locator("button:visible").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 44
    assert asked == []


@BOTH
def test_feature_maps_show_where_the_ink_is(visit, artifact):
    page = visit()
    pooled = 14 if artifact.manifest.precision == "int8" else 15  # int8 leaves out what is unused
    draw(page, points(STROKES["1"][0]))
    for name, count, side in (("conv1", 6, pooled), ("conv2", 16, 6)):
        maps = page.locator(f"#{name} canvas")
        assert maps.count() == count
        planes = [canvas_of(page, f"#{name} canvas >> nth={i}")[..., 3] for i in range(count)]
        assert {plane.shape for plane in planes} == {(side, side)}
        assert max(plane.max() for plane in planes) == 255
        assert sum(len(np.unique(plane)) > 3 for plane in planes) > count // 2
    page.keyboard.press("Escape")
    until(page, "#digit", "?")
    assert not canvas_of(page, "#conv1 canvas >> nth=0").any()


def test_pictures_are_chosen_dropped_and_pasted(visit, session):
    page = visit()
    for index in (3, 8):
        file = io.BytesIO()
        rendered(index).save(file, "PNG")
        (expected,) = session.predict(file.getvalue())
        png = base64.b64encode(file.getvalue()).decode()
        for way in ("choose", "drop", "paste"):
            if way == "choose":
                picture = {"name": "a.png", "mimeType": "image/png", "buffer": file.getvalue()}
                page.set_input_files("#file", picture)
            else:
                page.evaluate(
                    """([way, png]) => {
                        const bytes = Uint8Array.from(atob(png), (c) => c.charCodeAt(0));
                        const transfer = new DataTransfer();
                        transfer.items.add(new File([bytes], "a.png", { type: "image/png" }));
                        const options = { bubbles: true, cancelable: true };
                        document.body.dispatchEvent(way === "drop"
                            ? new DragEvent("drop", { ...options, dataTransfer: transfer })
                            : new ClipboardEvent("paste", { ...options, clipboardData: transfer }));
                    }""",
                    [way, png],
                )
            assert answer(page) == expected["label"]
            assert bars(page)[expected["label"]] == pytest.approx(
                100 * expected["probability"], abs=0.101
            )
            page.click("#undo")
            until(page, "#digit", "?")


def test_what_is_no_picture_is_told(visit):
    page = visit()
    page.set_input_files("#file", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"seven"})
    until(page, "#note", re.compile(r"a\.txt: expected a picture"))
    file = io.BytesIO()
    rendered(ink=240).save(file, "PNG")
    page.set_input_files("#file", {"name": "a.png", "mimeType": "", "buffer": file.getvalue()})
    until(page, "#note", re.compile("blank"))
    assert page.inner_text("#digit") == "?"


def test_it_is_used_by_keyboard(visit):
    page = visit(reduced_motion="reduce")
    for name in ("paper", "choose", "others"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == name
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # a real 1
    assert answer(page) == "1"
    page.keyboard.press("Control+z")
    until(page, "#digit", "?")
    page.focus("#paper")
    for digit in "0123456789":
        page.keyboard.press(digit)
        assert answer(page) == digit
        page.keyboard.press("Escape")
        until(page, "#spoken", "")


@pytest.fixture(scope="module")
def server(session):
    with running(lenet_serve.Service([lenet_serve.Model("lenet", "1", session)])) as server:
        yield server.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("shown_by", ["itself", "server"])
def test_axe_finds_no_fault(visit, axe, artifact, server, shown_by, scheme, width):
    page = visit(
        server if shown_by == "server" else (artifact.path / "index.html").as_uri(),
        viewport={"width": width, "height": 850}, color_scheme=scheme, reduced_motion="reduce",
    )  # fmt: skip
    for drawn in (False, True):
        if drawn:
            page.focus("#paper")
            page.keyboard.press("3")
            answer(page)
        page.evaluate(f"{axe}; 0")
        faults = page.evaluate(
            "axe.run().then(({violations}) => violations.map(({id, nodes}) =>"
            " [id, nodes.map((node) => node.html)]))"
        )
        assert faults == []


@pytest.mark.parametrize("channels", [1, 3])
def test_other_networks_are_shown_or_the_page_says_why_not(visit, tmp_path, channels):
    labels = tuple(f"letter {i}" for i in range(26))
    shape, module = (channels, 28, 28), lenet((channels, 28, 28), 26, kernel=5, activation=nn.Tanh)
    request = Request(
        module, "web", "fp32", Device("cpu"), preprocessing=Preprocessing(padding=0),
        labels=labels, image_shape=shape,
    )  # fmt: skip
    (tmp_path / "index.html").write_bytes(web.build(request).files["index.html"])
    page = visit((tmp_path / "index.html").as_uri())
    until(page, "#served", re.compile("26 classes" if channels == 1 else "No answers"))
    assert not page.is_visible("#layers")
    if channels == 1:
        assert draw(page, points(STROKES["1"][0])) in labels
        shown = bars(page)
        assert len(shown) == 10
        assert [*shown.values()] == sorted(shown.values(), reverse=True)
    else:
        until(page, "#note", re.compile("takes colour pictures of 28.28"))


def test_what_is_wrong_is_told(visit, artifact, tmp_path):
    html = (artifact.path / "index.html").read_text()
    data = json.loads(re.search(r'<script id="data"[^>]*>(.*?)</script>', html)[1])
    (tmp_path / "cut.html").write_text(html.replace(data["wasm"], data["wasm"][:20_000]))
    page = visit((tmp_path / "cut.html").as_uri())
    until(page, "#note", re.compile("cannot be loaded: .*bytes, found"))
    without = "delete globalThis.WebAssembly"
    page = visit(prepare=lambda context: context.add_init_script(without))
    until(page, "#note", re.compile("no WebAssembly here: use"))
    page = visit(java_script_enabled=False)
    until(page, "#served:visible", re.compile("allow scripts"))
    (tmp_path / "half.html").write_text(html[: html.index('<script type="module">') + 5000])
    page = visit((tmp_path / "half.html").as_uri())
    until(page, "#served:visible", re.compile("allow scripts"))
    page.errors.clear()
