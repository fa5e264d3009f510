"""The pages for people, in Chromium: what is drawn is what the network sees and answers."""

import io
import re
import shutil
from importlib.resources import files

import numpy as np
import pytest
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
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed; on Debian, apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, server):
    """`visit(**options)`: the page in a context of its own, which must report no error."""
    contexts, errors = [], []

    def visit(url=server.url, **options):
        context = browser.new_context(**options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.errors = errors
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert errors == []


def draw(page, points):
    """Draw a stroke with the mouse, and wait for the answer to the whole of it."""
    box = page.locator("#paper").bounding_box()
    for i, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=6)
        if i == 0:
            page.mouse.down()
    page.mouse.up()
    return answer(page)


def answer(page):
    until(page, "#spoken", re.compile("sure"))
    return page.inner_text("#digit")


def until(page, selector, text):
    """Wait until an element has the text; the page's policy bars `wait_for_function`."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_text(text, timeout=10_000)


def pixels(page):
    """The 28x28 that the page shows."""
    levels = page.evaluate(
        """() => {
            const canvas = document.querySelector("#seen"), {width, height} = canvas;
            const image = canvas.getContext("2d").getImageData(0, 0, width, height);
            return [width, height, ...image.data];
        }"""
    )
    return np.array(levels[2:], np.uint8).reshape(levels[1], levels[0], 4)[..., 0]


def drawn_box(page):
    """The bounding box of the ink on the paper, as shares of its sides."""
    rows = page.evaluate(
        """() => {
            const canvas = document.querySelector("#paper"), {width, height} = canvas;
            const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
            return [width, [...data.filter((_, i) => i % 4 === 3)]];
        }"""
    )
    inked = np.array(rows[1]).reshape(-1, rows[0]) > 0
    y, x = np.nonzero(inked)
    return np.array([x.min(), y.min(), x.max(), y.max()]) / rows[0]


def bars(page):
    return {
        label: float(text.rstrip("%"))
        for label, text in (row.split("\n") for row in page.locator("#bars li").all_inner_texts())
    }


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
    left, top, right, bottom = drawn_box(page)
    assert np.allclose([left, top, right, bottom], [0.45, 0.17, 0.54, 0.84], atol=0.03)
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
