"""lenet.js in the system's Chromium: pages and both kinds of workers, each variant, one digest."""

import functools
import hashlib
import http.server
import threading

import numpy as np
import pytest
from drawn_page import chromium, visits
from every_format import needs_web
from samples import digits

import lenet_runtime

pytestmark = needs_web
SOURCE = """
const hash = async (logits) => Array.from(
  new Uint8Array(await crypto.subtle.digest("SHA-256", logits)),
  (byte) => byte.toString(16).padStart(2, "0")).join("");
const answer = async (images, variants) => {
  const { load } = await import("/lenet.js");
  const found = { best: (await load()).variant };
  for (const variant of variants) {
    found[variant] = await hash((await load("/lenet.wasm", { variant })).run(images));
  }
  return found;
};
"""
WORKER = """
onmessage = async ({ data: [images, variants] }) =>
  postMessage(await answer(images, variants).catch(String));
"""
ASK = """
async ([numbers, variants]) => {
  const images = Float32Array.from(numbers);
  const ask = (type) => new Promise((done, failed) => {
    const worker = new Worker("/worker.js", { type });
    worker.onmessage = ({ data }) => done(data);
    worker.onerror = ({ message }) => failed(new Error(message));
    worker.postMessage([images, variants]);
  });
  return {
    page: await answer(images, variants),
    module: await ask("module"),
    classic: await ask("classic"),
  };
}
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    extensions_map = {  # noqa: RUF012  the base class's own attribute
        ".js": "text/javascript", ".html": "text/html", "": "application/wasm",
    }  # fmt: skip

    def log_message(self, format, *arguments):
        """Say nothing."""


@pytest.fixture
def served(tmp_path):
    """The folder of a site, and its URL."""
    handler = functools.partial(Quiet, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_variant_answers_as_native_in_chromium(exported, served, precision):
    folder, url = served
    artifact, images = exported("web", precision=precision), digits(60)
    for name in ("lenet.js", "lenet.wasm"):
        (folder / name).write_bytes(artifact.read(name))
    (folder / "worker.js").write_text(SOURCE + WORKER)
    icon = '<link rel="icon" href="data:,">'
    (folder / "page.html").write_text(f"<!doctype html>{icon}<script>{SOURCE}</script>")
    digest = {}
    for name in ("native", "web"):
        with lenet_runtime.load(exported(name, precision=precision), trust=True) as session:
            logits = session.run(images)
        digest[name] = hashlib.sha256(np.ascontiguousarray(logits)).hexdigest()
    assert digest["web"] == digest["native"]
    variants = artifact.manifest.requirements.engine_version.split(", ")
    expected = dict.fromkeys(variants, digest["native"]) | {"best": variants[-1]}
    with chromium() as browser, visits(browser, f"{url}/page.html") as visit:
        found = visit().evaluate(ASK, [images.ravel().tolist(), variants])
    assert found == dict.fromkeys(("page", "module", "classic"), expected)
    print(precision, digest["native"], variants)
