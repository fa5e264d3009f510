"""The pages for people, in Chromium: what is drawn is what the network sees and answers."""

import io
import re
from importlib.resources import files

import numpy as np
import pytest
from drawings import DIGITS, rendered
from drawn_page import answer, bars, canvas_of, chromium, draw, pixels, until, visits
from http_server import running
from PIL import Image

import lenet_serve
from lenet_runtime.images.preprocess import to_pixels
from lenet_serve.http.routes import ROUTES

SEVEN = [(0.3, 0.25), (0.7, 0.25), (0.45, 0.8)]
ONE = [(0.5, 0.2), (0.48, 0.8)]


class Recording(lenet_serve.Service):
    """A service that keeps the pictures that it was sent."""

    def __init__(self, models):
        super().__init__(models)
        self.pictures = []

    def infer(self, request, deadline=None):
        self.pictures.append(request.inputs[0].data[0])
        return super().infer(request, deadline)


@pytest.fixture(scope="module")
def recorded(native_session):
    return Recording([lenet_serve.Model("lenet", "1", native_session)])


@pytest.fixture(scope="module")
def server(recorded):
    with running(recorded) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser, server):
    with visits(browser, server.url) as visit:
        yield visit


@pytest.mark.parametrize(("digit", "points"), [("7", SEVEN), ("1", ONE)])
def test_what_is_drawn_is_what_was_classified(visit, recorded, native_session, digit, points):
    page = visit()
    assert draw(page, points) == digit
    sent = recorded.pictures[-1]
    made, _ = to_pixels([sent], native_session.manifest.preprocessing)
    assert np.array_equal(pixels(page), made[0])
    (prediction,) = native_session.predict(sent)
    assert prediction["label"] == digit
    shown = bars(page)
    assert [*shown] == [*map(str, range(10))]
    assert max(shown, key=shown.get) == digit
    assert shown[digit] == pytest.approx(100 * prediction["probability"], abs=0.11)
    assert page.inner_text("#bars .best").startswith(digit)
    times = {name: page.inner_text(f"#{name}") for name in ("browser", "total", "input", "infer")}
    assert all(re.fullmatch(r"[\d.]+ (µs|ms)", text) for text in times.values()), times


def test_every_digit_is_drawn_by_its_key(visit):
    page = visit(reduced_motion="reduce")
    for digit in "0123456789":
        page.focus("#paper")
        page.keyboard.press(digit)
        assert answer(page) == digit


def test_it_is_used_by_keyboard(visit):
    page = visit(reduced_motion="reduce")
    until(page, "#served", re.compile("lenet"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "paper"
    page.keyboard.press("4")  # in two strokes
    assert answer(page) == "4"
    page.keyboard.press("Control+z")
    until(page, "#digit", re.compile("[^4]"))
    page.keyboard.press("Control+z")
    until(page, "#digit", "?")
    assert not pixels(page).any()
    page.keyboard.press("3")
    assert answer(page) == "3"
    for name in ("undo", "clear"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == name
    page.keyboard.press("Escape")
    until(page, "#digit", "?")
    assert page.is_disabled("#clear")


def test_real_digits_and_pictures_are_answered(visit, recorded, native_session):
    page = visit()
    page.click("#samples button >> nth=4")
    assert answer(page) == "4"
    assert np.array_equal(pixels(page), DIGITS.images[np.nonzero(DIGITS.labels == 4)[0][0]])
    page.click("#clear")
    until(page, "#spoken", "")
    file = io.BytesIO()
    rendered(3).save(file, "PNG")
    picture = {"name": "a.png", "mimeType": "image/png", "buffer": file.getvalue()}
    page.set_input_files("#file", picture)
    (prediction,) = native_session.predict(file.getvalue())
    assert answer(page) == prediction["label"]
    assert recorded.pictures[-1] == file.getvalue()  # not as this browser would decode it
    assert canvas_of(page, "#paper")[..., 3].any()


def test_dark_is_dark_and_is_answered_alike(visit, recorded):
    pictures = {}
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme)
        assert draw(page, SEVEN) == "7"
        pictures[scheme] = recorded.pictures[-1]
        grey = Image.open(io.BytesIO(page.screenshot())).convert("L").resize((1, 1))
        assert (grey.getpixel((0, 0)) < 60) == (scheme == "dark")
    assert pictures["light"] == pictures["dark"]


def test_a_finger_draws_on_a_phone_and_nothing_is_cut_off(visit):
    page = visit(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True,
        device_scale_factor=2,
    )  # fmt: skip
    box = page.locator("#paper").bounding_box()
    finger = page.context.new_cdp_session(page)
    points = np.linspace(ONE[0], ONE[1], 12) * box["width"] + [box["x"], box["y"]]
    for i, (x, y) in enumerate(points.tolist()):
        touch = {"type": "touchMove" if i else "touchStart", "touchPoints": [{"x": x, "y": y}]}
        finger.send("Input.dispatchTouchEvent", touch)
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert answer(page) == "1"
    ink = canvas_of(page, "#paper")[..., 3] > 0
    box = np.array([*np.nonzero(ink.any(0))[0][[0, -1]], *np.nonzero(ink.any(1))[0][[0, -1]]])
    assert np.allclose(box / len(ink), [0.45, 0.54, 0.17, 0.84], atol=0.03)
    assert page.evaluate("[scrollY, document.documentElement.scrollWidth]") == [0, 390]


def test_the_chart_follows_the_metrics(visit):
    page = visit()
    until(page, "#rate", re.compile(r"\d"))
    draw(page, ONE)
    until(page, "#p99", re.compile("ms|µs"))
    assert page.get_attribute("#p99s .line", "d").startswith("M")
    assert "L" in page.get_attribute("#rates .line", "d")
    older, newer = ({"0.001": 5, "0.0025": 5, "+Inf": 5}, {"0.001": 95, "0.0025": 105, "+Inf": 105})
    texts = [
        "".join(f'lenet_request_seconds_bucket{{le="{bound}"}} {n}\n' for bound, n in look.items())
        for look in (older, newer)
    ]
    script = files("lenet_serve.http").joinpath("page", "live.js").read_text()
    p99 = page.evaluate(
        f"(texts) => {{ {script}; return percentile(...texts.map(counters)); }}", texts
    )
    assert p99 == pytest.approx(1 + 1.5 * 9 / 10)  # ms, as histogram_quantile has it


def test_it_asks_for_the_token(visit, native_session):
    service = Recording([lenet_serve.Model("lenet", "1", native_session)])
    with running(service, token="secret") as server:
        page = visit(server.url)
        page.fill("#token", "secret")
        page.keyboard.press("Enter")
        until(page, "#served", re.compile("lenet"))
        assert draw(page, ONE) == "1"
        assert all("401" in error for error in page.errors)
        page.errors.clear()


def test_a_server_that_is_gone_is_told(visit, native_session):
    with running(Recording([lenet_serve.Model("lenet", "1", native_session)])) as server:
        page = visit(server.url)
        assert draw(page, SEVEN) == "7"
    page.keyboard.press("Control+z")
    page.keyboard.press("7")
    until(page, "#note", re.compile("does not answer"))
    page.close()
    assert all("ERR_CONNECTION_REFUSED" in error for error in page.errors)
    page.errors.clear()


def test_docs_name_every_path_and_this_server(visit, server):
    page = visit(f"{server.url}/docs")
    for route in ROUTES:
        assert route.path in page.locator("td code").all_inner_texts()
    assert f"{server.url}/v1/predict" in page.inner_text("pre >> nth=0")
    assert "{{" not in page.content()


def test_pages_load_nothing_from_elsewhere(server):
    for path in ("/", "/docs"):
        status, headers, body = server.ask("GET", path)
        assert status == 200
        assert headers["content-type"] == "text/html; charset=utf-8"
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert "unsafe" not in policy
        assert not re.search(rb"""(src|href)=["'](https?:)?//""", body)
    assert server.ask("GET", "/favicon.ico")[1]["content-type"] == "image/svg+xml"
    assert server.ask("POST", "/")[0] == 405
