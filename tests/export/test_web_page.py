"""``index.html`` of a web artifact: one file that loads nothing, and allows nothing else."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from lenet_deploy.cli import export_page
from lenet_export.formats.web.modules import bundle
from lenet_export.formats.web.page import index
from lenet_export.formats.web.script import scripts
from lenet_runtime.errors import InputError
from lenet_runtime.images.digits import load_digits

VOID = {"br", "input", "link", "meta"}
MODULES = {
    "lenet.js": 'import { fromRGBA } from "./pictures.js";\nexport async function load() {}\n',
    "pictures.js": "const SIDE = 28;\nexport function fromRGBA() { return SIDE; }\n",
}
NETWORK = {
    "labels": ["</script>", "<!--<script>", "/*script*/", "/*style*/", "<!--policy-->"],
    "words": "Two & more.",
}


class Document(HTMLParser):
    """The elements of a document: their attributes and text; fails where tags do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        element = (tag, dict(attributes), [])
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        if self.open:
            self.open[-1][2].append(text)

    def texts(self, tag, **attributes):
        return [
            "".join(text) for name, own, text in self.elements
            if name == tag and attributes.items() <= own.items()
        ]  # fmt: skip


@pytest.fixture(scope="module")
def document():
    return Document(index(MODULES, b"\0asm" * 1000, NETWORK).decode())


def test_it_loads_nothing_from_elsewhere(document):
    for _, attributes, _ in document.elements:
        for name in ("src", "href", "action", "srcset"):
            assert attributes.get(name, "data:").startswith("data:")
    texts = "".join(document.texts("script") + document.texts("style"))
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|sendBeacon", texts)


def test_its_policy_allows_its_own_script_and_style_alone(document):
    (policy,) = [
        own["content"] for tag, own, _ in document.elements
        if tag == "meta" and own.get("http-equiv") == "content-security-policy"
    ]  # fmt: skip
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules
    for directive, tag, own in (
        ("script-src", "script", {"type": "module"}), ("style-src", "style", {}),
    ):  # fmt: skip
        (text,) = document.texts(tag, **own)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[directive].split()[0] == f"'sha256-{digest}'"
    assert rules["script-src"].split()[1:] == ["'wasm-unsafe-eval'"]


def test_its_data_is_whole_whatever_the_labels_are(document):
    (text,) = document.texts("script", id="data")
    assert "<" not in text  # <!--<script> would hide the end of the script
    data = json.loads(text)
    assert data["network"] == NETWORK
    assert base64.b64decode(data["wasm"]) == b"\0asm" * 1000
    png = base64.b64decode(data["digits"]["png"].partition(",")[2])
    shown = np.asarray(Image.open(io.BytesIO(png))).reshape(-1, 28, 28)
    assert np.array_equal(shown, load_digits().images)
    assert data["digits"]["labels"] == load_digits().labels.tolist()


def test_each_module_keeps_its_names_and_gives_its_exports(document):
    (script,) = document.texts("script", type="module")
    assert not re.search(r"^(import|export)\b", script, re.M)
    assert "const { fromRGBA } = (() => {\nconst SIDE = 28;" in script
    assert "const { load } = (() => {\nasync function load() {}" in script
    assert script.index("SIDE = 28") < script.index("function load()")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('import * as all from "./pictures.js";\n', "found 'import"),
        ("export default 7;\n", "found 'export default 7;'"),
        ('import { load } from "./lenet.js";\n', "lenet.js -> pictures.js"),
    ],
)
def test_other_modules_are_refused(text, fault):
    with pytest.raises(ValueError, match=re.escape(fault)):
        bundle(MODULES | {"pictures.js": text})


def test_it_is_small_beside_its_wasm_and_the_same_every_time():
    page = index(MODULES, b"\0" * 30_000, NETWORK)
    assert len(page) < 40_000 + 50_000
    assert page == index(MODULES, b"\0" * 30_000, NETWORK)


@pytest.mark.parametrize("is_open", [True, False])
def test_open_opens_the_page(tmp_path, monkeypatch, capsys, is_open):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or is_open)
    (tmp_path / "web int8").mkdir()
    page = tmp_path / "web int8" / "index.html"
    page.write_text("")
    export_page.open_pages([tmp_path, page.parent])
    assert opened == [page.as_uri()]
    said = capsys.readouterr().err.replace("\n", "")
    assert str(page) in said
    assert ("by hand" in said) != is_open


def test_open_is_refused_for_formats_without_a_page():
    with pytest.raises(InputError, match=r"--open: .* found --format onnx"):
        export_page.check_open(["onnx"])


def test_no_label_is_a_tag_in_the_module_either():
    labels = ["</SCRIPT>", "<!--<script>", "<!--policy-->"]
    network = {"labels": labels, "height": 32}
    assert "<" not in re.search(r"freeze\((.*)\);", scripts(network)["lenet.js"])[1]
