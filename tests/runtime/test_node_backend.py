"""node: a child process that answers frames, and whatever it may do instead."""

import os
import shutil
import stat
import threading

import numpy as np
import pytest
from samples import noise

from lenet_runtime import BACKENDS
from lenet_runtime.backends.node import PIECE, Node, child
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeployError

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node on PATH")
# A network whose logits are the first ten pixels, and what it does before.
SCRIPT = """
import {{ writeSync }} from "node:fs";
export const network = {{
  weights: "w", channels: 1, height: 32, width: 32, labels: [..."0123456789"],
}};
export async function load(wasm, options) {{
  {at_load}
  return {{ variant: String.fromCharCode(...wasm), run(images) {{
    {at_run}
    const logits = new Float32Array(images.length / 1024 * 10);
    return logits.map((_, i) => images[1024 * Math.floor(i / 10) + i % 10]);
  }} }};
}}
"""


def start(at_run="", at_load=""):
    return Node(SCRIPT.format(at_run=at_run, at_load=at_load).encode(), b"plain", "here/lenet.js")


@needs_node
def test_it_answers_what_the_script_answers_in_pieces():
    node = start()
    assert (node.variant, node.weights_sha256, node.classes) == ("plain", "w", 10)
    assert node.image_shape == (1, 32, 32)
    images = noise(PIECE + 3)
    np.testing.assert_array_equal(node.run(images), images.reshape(-1, 1024)[:, :10])
    threads = [threading.Thread(target=node.run, args=(images[:3],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    process = node._child._process
    node.close()
    assert process.returncode == 0
    with pytest.raises(DeployError, match="closed"):
        node.run(images[:1])


@needs_node
@pytest.mark.parametrize(
    ("at_run", "message"),
    [
        ("console.error('no memory left'); process.exit(3);", "exit code 3, no memory left"),
        ("process.kill(process.pid, 9); for (;;);", "exit code -9"),
        ("throw new RangeError('expected numbers');", "node: expected numbers"),
        ("writeSync(1, 'debugging along');", r"expected a frame, found b'debu'"),
        ("return new Float32Array(7);", "expected 1 rows of 10 logits, found 28 bytes"),
        ("for (;;);", r"expected an answer in 0\.2 s, found none"),
    ],
)
def test_whatever_else_happens_is_an_error(monkeypatch, at_run, message):
    node = start(at_run)
    monkeypatch.setattr(child, "SECONDS", 0.2 if "for (;;)" in at_run else 20.0)
    with pytest.raises(DeployError, match=message):
        node.run(noise(1))
    if "Float32Array(7)" not in at_run:
        assert node._child._process.returncode is not None
        with pytest.raises(DeployError, match="ended by an earlier call; load it again"):
            node.run(noise(1))
    node.close()


@needs_node
def test_what_cannot_be_loaded_is_the_artifacts_fault():
    with pytest.raises(ArtifactError, match=r"here/lenet\.js: node: expected 7 bytes.*export it"):
        start(at_load="throw new Error('expected 7 bytes');")


@needs_node
def test_an_interrupted_call_ends_the_process(monkeypatch):
    node = start()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(node._child, "_receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        node.run(noise(1))
    with pytest.raises(DeployError, match="earlier call"):
        node.run(noise(1))


@needs_node
def test_no_environment_variable_lets_other_code_run_first(monkeypatch, tmp_path):
    (tmp_path / "first.cjs").write_text("process.exit(9);")
    monkeypatch.setenv("NODE_OPTIONS", f"--require {tmp_path / 'first.cjs'}")
    start().close()


# ---- Node itself


def fake_node(folder, monkeypatch, text):
    path = folder / "node"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("echo v12.22.1", "expected version 18, found 12.22.1; install Node.js 18 or later"),
        ("echo amateur radio", "to be Node.js, found amateur radio; install"),
        ("exit 1", "to be Node.js, found nothing; install"),
    ],
)
def test_another_node_is_unavailable(tmp_path, monkeypatch, text, message):
    fake_node(tmp_path, monkeypatch, text)
    with pytest.raises(BackendUnavailable, match=message):
        BACKENDS["node"].probe("cpu")


def test_no_node_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendUnavailable, match=r"found none; install Node.*apt install nodejs"):
        BACKENDS["node"].probe("cpu")


def test_a_newer_node_is_taken_by_its_version(tmp_path, monkeypatch):
    fake_node(tmp_path, monkeypatch, "echo v26.1.0-nightly")
    assert BACKENDS["node"].probe("cpu") == "26.1.0"
