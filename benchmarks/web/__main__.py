"""Measure, and write ``web-....json`` and ``.md``: ``python -m benchmarks.web``.

Every engine runs the bundled network in the same process, one after the other in each turn, so that
a busy machine slows all of them. Needs node, npm, clang and lld; Chromium and Playwright for the
browser. onnxruntime-web is installed by npm into ``.cache/web``, which Git ignores.
"""

import argparse
import functools
import http.server
import json
import platform
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lenet_export
from lenet_deploy.training.checkpoint import load_checkpoint
from lenet_runtime import cpu
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch

REPOSITORY = Path(__file__).parents[2]
PEER = "onnxruntime-web"
RELAXED = "--experimental-wasm-relaxed-simd"  # the flag of Node 20


def main() -> None:
    """Install, export, measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description=__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks/results")
    parser.add_argument("--turns", type=int, default=40)
    arguments = parser.parse_args()
    ort = _onnxruntime_web()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        places = _artifacts(folder)
        (folder / "ort").symlink_to(ort / "dist")
        shutil.copy(Path(__file__).with_name("measure.mjs"), folder)
        options = {"options": {"turns": arguments.turns}, "images": _images()}
        report = {
            "cpu": cpu.model(),
            "date": time.strftime("%Y-%m-%d"),
            "versions": {PEER: json.loads((ort / "package.json").read_text())["version"]},
            "sizes": {name: _sizes(folder / name) for name in places},
            "results": {},
        }
        for title, flags in (("Node", []), ("Node, relaxed SIMD allowed", [RELAXED])):
            urls = {name: f"file://{folder}/{name}" for name in (*places, "ort")}
            report["results"][title] = _node(folder, flags, urls | options)
        report["versions"]["Node"] = _output("node", "--version")
        report["results"]["Chromium"], report["versions"]["Chromium"] = _chromium(folder, options)
    name = f"web-{cpu.level()}-{report['date']}"
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    text = _table(report)
    (arguments.output / f"{name}.md").write_text(text)
    print(text)


def _onnxruntime_web() -> Path:
    """The folder of onnxruntime-web's package, installed if it is missing."""
    cache = REPOSITORY / ".cache" / "web"
    package = cache / "node_modules" / PEER
    if not package.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run([*command, "--no-package-lock", "--prefix", cache, PEER], check=True)
    return package


def _artifacts(folder: Path) -> list[str]:
    """Export the network as its peers take it; the names of the folders."""
    net = load_checkpoint()
    for precision in ("fp32", "int8"):
        lenet_export.export(net, "web", folder / precision, precision=precision)
    lenet_export.export(net, "onnx", folder / "onnx")
    return ["fp32", "int8", "onnx"]


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def _images() -> list[float]:
    """The 60 bundled digits, as the network takes them."""
    images = to_batch(load_digits().images, Preprocessing(padding=2))
    numbers: list[float] = images.ravel().tolist()
    return numbers


def _node(folder: Path, flags: list[str], places: dict[str, Any]) -> dict[str, Any]:
    command = ["node", "--no-warnings", *flags, str(folder / "measure.mjs")]
    data = json.dumps(places).encode()
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr.decode()[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The URL under which a server of this process shows the folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        extensions_map = {  # noqa: RUF012  the base class's own attribute
            ".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm",
            "": "application/octet-stream", ".html": "text/html",
        }  # fmt: skip

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

        def end_headers(self) -> None:
            """Isolate the page, whose clock then has steps of 5 us and not of 100."""
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def _chromium(folder: Path, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
    from playwright.sync_api import sync_playwright

    (folder / "page.html").write_text("<!doctype html><title>measuring</title>")
    with _served(folder) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(f"{url}/page.html")
        places = {name: f"{url}/{name}" for name in ("fp32", "int8", "onnx", "ort")}
        result = page.evaluate(
            "async (places) => (await import('/measure.mjs')).measure(places, places.options)",
            places | options,
        )
        version = browser.version
        browser.close()
    return result, version


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _table(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        "# Ours and onnxruntime-web: microseconds an image", "",
        f"{report['cpu']}, {platform.system()}; {versions}; {report['date']}. One thread, the same "
        "network and digits, engines in turns in one process; the fastest turn of each, and how "
        "many times as long onnxruntime-web takes. First answer: from the bytes to one image's "
        "logits.",
    ]  # fmt: skip
    for place, engines in report["results"].items():
        batches = list(next(iter(engines.values()))["calls"])
        head = [f"batch {batch}" for batch in batches]
        lines += ["", f"## {place}", "", f"| | {' | '.join(head)} | first answer |"]
        lines += [f"|---|{'---:|' * (len(batches) + 1)}"]
        for name, engine in engines.items():
            cells = []
            for batch in batches:
                own = min(engine["calls"][batch])
                peer = min(engines[PEER]["calls"][batch])
                cells.append(f"{own:.1f}" + f" ({peer / own:.1f}x)" * (name != PEER))
            lines.append(f"| {name} | {' | '.join(cells)} | {engine['first']:.1f} ms |")
    lines += ["", "## Bytes", "", "| | |", "|---|---:|"]
    for name, sizes in report["sizes"].items():
        wanted = {"lenet.wasm", "lenet.js", "index.html", "model.onnx"}
        lines += [f"| {name} {file} | {size:,} |" for file, size in sizes.items() if file in wanted]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
