"""What the screen shows of names and labels that others chose: all, and none of it takes effect."""

import json
import os
import shutil

import pytest
from artifact_files import edit_manifest
from cli_helper import run
from mnist_files import write_mnist

QUICK = ("--min-time", "0.01", "--min-iterations", "3", "--warmup", "0", "--batch-sizes", "1")
# Terminal escapes, a byte that is not UTF-8, a change of direction, and rich's markup.
HOSTILE = "\x1b[2J" + os.fsdecode(b"\xff") + "\u202e[bold]x[red]\x07"
SHOWN = r"\x1b[2J\udcff\u202e[bold]x[red]\x07"
LABELS = [
    HOSTILE,
    "\ud800",
    "[/]",
    "[link=x]y[/link]",
    "\x9b2J",
    "\\",
    "\x1b]0;a\x07",
    "8",
    "9",
    "0",
]


@pytest.fixture(scope="module")
def folder(exported, tmp_path_factory):
    """An artifact in a folder of a hostile name, with hostile labels."""
    folder = shutil.copytree(exported("onnx").path, tmp_path_factory.mktemp("a") / HOSTILE / "a")
    return edit_manifest(folder, lambda document: document.update(labels=LABELS))


def assert_harmless(*texts):
    for text in texts:
        assert not [c for c in text if not c.isprintable() and c != "\n"]
        text.encode()


def one_line(text):
    return "".join(text.replace("│", "").split())


@pytest.mark.parametrize(
    "command",
    [
        ("inspect", "FOLDER"),
        ("verify", "FOLDER", "--batch-sizes", "1"),
        ("bench", "FOLDER", *QUICK),
        ("predict", "--digits", "3", "--artifact", "FOLDER", "--top-k", "10"),
    ],
)
def test_hostile_names_and_labels_are_spelt_out_and_are_json(folder, monkeypatch, command):
    monkeypatch.delenv("LENET_DEPLOY_DATA_DIR", raising=False)
    words = [folder if word == "FOLDER" else word for word in command]
    result = run(*words)
    assert_harmless(result.stdout, result.stderr)
    result = run(*words, *(("--json", "-") if command[0] == "bench" else ("--json",)))
    document = json.loads(result.stdout)
    assert command[0] == "bench" or str(folder) in (document.get("path"), document.get("artifact"))
    assert_harmless(result.stdout, result.stderr)


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", HOSTILE),
        ("verify", HOSTILE),
        ("bench", HOSTILE),
        ("tune", HOSTILE),
        ("evaluate", "--data-dir", HOSTILE),
        ("evaluate", "--checkpoint", HOSTILE),
        ("train", "--data-dir", HOSTILE),
        ("train", "--resume", "-o", HOSTILE),
        ("export", "--checkpoint", HOSTILE),
        ("export", "-o", f"/dev/null/{HOSTILE}", "-f", "torchscript", "--batch-sizes", "1"),
        ("bench", "--baseline", HOSTILE),
    ],
)
def test_an_error_spells_a_hostile_path_out(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LENET_DEPLOY_DATA_DIR", str(write_mnist(tmp_path)))
    result = run(*words, code=2 if words[-2] == "--baseline" else 1)
    assert_harmless(result.stdout, result.stderr)
    assert one_line(SHOWN) in one_line(result.stderr)


def test_a_run_in_a_hostile_folder(tmp_path):
    words = ("train", "--data-dir", write_mnist(tmp_path), "-o", tmp_path / HOSTILE, "--epochs", 1)
    result = run(*words)
    assert_harmless(result.stdout, result.stderr)
    assert one_line(SHOWN) in one_line(result.stdout)
