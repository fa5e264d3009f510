"""`lenet-deploy predict` of files of arrays, of stdin and of doubtful pictures."""

import gzip
import json
import os
import shutil
import struct
import threading
from pathlib import Path

import numpy as np
import predict_command
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from predict_command import DIGITS, predict, run, values
from typer.testing import CliRunner

from lenet_deploy.cli import app, console, inputs

fake, pictures = predict_command.fake, predict_command.pictures


def idx(images):
    return struct.pack(">IIII", 0x803, *images.shape) + images.tobytes()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t10k-images-idx3-ubyte", idx(DIGITS.images[:4])),
        ("t10k-images-idx3-ubyte.gz", gzip.compress(idx(DIGITS.images[:4]))),
        ("mnist.csv", "\n".join(",".join(map(str, d.ravel())) for d in DIGITS.images[:4]).encode()),
    ],
)
def test_files_of_many_digits_are_classified_by_place(fake, tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    predictions, _ = predict(path)
    assert values(predictions, "label") == DIGITS.labels[:4].tolist()
    assert values(predictions, "path") == [f"{path}[{i}]" for i in range(4)]


@pytest.mark.parametrize("scale", [1, 255])
def test_labels_in_the_file_say_right_or_wrong(fake, tmp_path, scale):
    """Also where the pixels are floats, which are rounded to 256 levels."""
    images = DIGITS.images[:4] if scale == 1 else DIGITS.images[:4] / 255
    np.savez(tmp_path / "digits.npz", images=images, labels=DIGITS.labels[:4])
    predictions, _ = predict(tmp_path / "digits.npz")
    assert values(predictions, "expected") == DIGITS.labels[:4].tolist()
    assert all(values(predictions, "correct"))
    assert "4 of 4 right" in run(tmp_path / "digits.npz").stdout


def test_arrays_that_mean_two_things_are_reported(fake, tmp_path):
    np.save(tmp_path / "binary.npy", (DIGITS.images > 99).astype(np.uint8))
    result = run(tmp_path / "binary.npy", code=1)
    assert "images.astype(bool)" in result.stderr.replace("\n", "")


def test_a_long_file_is_listed_in_part(fake, tmp_path):
    np.save(tmp_path / "many.npy", np.resize(DIGITS.images, (230, 28, 28)))
    assert "and 30 more" in run(tmp_path / "many.npy").stdout
    assert len(predict(tmp_path / "many.npy")[0]) == 230


@pytest.mark.parametrize("kind", ["picture", "idx", "csv"])
def test_a_hyphen_is_stdin(fake, pictures, kind):
    csv = "label," + ",".join(f"pixel{i}" for i in range(784)) + "\n7,"
    data = {
        "picture": (pictures / "7.png").read_bytes(),
        "idx": idx(DIGITS.images[:1]),
        "csv": (csv + ",".join(map(str, DIGITS.images[0].ravel()))).encode(),
    }[kind]
    result = CliRunner().invoke(app, ["predict", "-", "--json"], input=data)
    (prediction,) = json.loads(result.stdout)["predictions"]
    assert prediction["label"] == 7
    assert prediction["path"].startswith("-")


def test_a_pipe_is_read_once(fake, pictures, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    data = (pictures / "7.png").read_bytes()
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    ((prediction,), _) = predict(tmp_path / "pipe")
    writer.join()
    assert prediction["label"] == 7


def test_a_closed_stdin_is_said(fake, monkeypatch):
    monkeypatch.setattr(inputs.sys, "stdin", None)
    errors = {}
    assert inputs.read([Path("-")], errors) == []
    assert "standard input is closed" in errors["-"]


def test_a_name_stays_on_its_line_and_a_label_in_its_column(fake, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a longer path would be folded, perhaps within the name
    shutil.copy(pictures / "7.png", "a\nb.png")
    assert "a\\nb.png" in run("a\nb.png").stdout
    assert len(console.name("2" * 500, 24)) <= 24


def test_doubt_is_said_in_the_table_and_in_json(fake, tmp_path):
    picture = Image.new("L", (300, 160), 245)
    for left in (60, 200):
        picture.paste(40, (left, 40, left + 20, 120))
    picture.save(tmp_path / "two.png")
    result = run(tmp_path / "two.png", "--top", 1)
    assert "2 shapes of a digit's size" in result.stderr
    assert "?" in result.stdout
    (prediction,), _ = predict(tmp_path / "two.png", "--top", 1)
    assert prediction["shapes"] == 2
    assert len(prediction["warnings"]) == 1
    assert len(prediction["top_k"]) == 1


def test_one_plugins_error_does_not_end_the_rest(fake, pictures, monkeypatch):
    class PluginError(Exception):
        pass

    def fail(*arguments):
        raise PluginError("decoder")

    monkeypatch.setattr(PngImageFile, "load", fail)
    predictions, errors = predict(pictures / "7.png", pictures / "2.jpg", code=1)
    assert values(predictions, "label") == [2]
    assert errors == {str(pictures / "7.png")}


def test_a_user_without_a_home_is_told_that_there_is_no_such_file(fake):
    assert "no such file" in run("~nobody-of-this-name/7.png", code=2).stderr
