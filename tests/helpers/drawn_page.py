"""The page for drawing digits in Chromium: opening it, drawing, and reading what it answers."""

import contextlib
import re
import shutil

import numpy as np
import pytest


@contextlib.contextmanager
def chromium():
    """The system's Chromium, driven by Playwright; skips where one of them is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed; on Debian, apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def visits(browser, default):
    """`visit(url=default, **options)`: a page in a context of its own, which reports no error."""
    contexts, errors = [], []

    def visit(url=default, *, prepare=lambda context: None, **options):
        context = browser.new_context(**options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        prepare(context)
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


def draw(page, *strokes, steps=6):
    """Draw strokes with the mouse, points from 0 to 1, and wait for the answer to all of them."""
    box = page.locator("#paper").bounding_box()
    for points in strokes:
        for i, (x, y) in enumerate(points):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=steps)
            if i == 0:
                page.mouse.down()
        page.mouse.up()
    return answer(page)


def answer(page):
    """The label that is shown, once a stroke has ended and been answered."""
    until(page, "#spoken", re.compile("sure"))
    return page.inner_text("#digit")


def until(page, selector, text):
    """Wait until an element has the text; the page's policy bars `wait_for_function`."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_text(text, timeout=10_000)


def canvas_of(page, selector):
    """What is on a canvas: uint8 ``(H, W, 4)``."""
    levels = page.locator(selector).evaluate(
        """(canvas) => {
            const {width, height} = canvas;
            const image = canvas.getContext("2d").getImageData(0, 0, width, height);
            return [width, height, ...image.data];
        }"""
    )
    return np.array(levels[2:], np.uint8).reshape(levels[1], levels[0], 4)


def pixels(page):
    """The 28x28 that the network sees, as the page shows it."""
    return canvas_of(page, "#seen")[..., 0]


def bars(page):
    """Each label's probability in percent, as the page shows it."""
    return {
        label: float(text.rstrip("%"))
        for label, text in (row.split("\n") for row in page.locator("#bars li").all_inner_texts())
    }
