"""`lenet-deploy predict`, with a fake network that needs no engine."""

import io
import json
import re
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import predict_command
import pytest
from cli_helper import assert_fits, run_alone
from family import lenet
from PIL import Image
from predict_command import BUNDLED, DIGITS, predict, run, values
from processes import python

import lenet_export
import lenet_runtime
from lenet_deploy.cli.drawing import bar, half_blocks
from lenet_runtime.errors import BackendUnavailable

LETTERS = [chr(ord("A") + i) for i in range(26)]
fake, pictures = predict_command.fake, predict_command.pictures


def test_pictures_are_classified_in_one_call(fake, pictures):
    paths = [str(pictures / "7.png"), str(pictures / "2.jpg")]
    predictions, errors = predict(*paths)
    assert values(predictions, "label") == [7, 2]
    assert values(predictions, "inverted") == [True, False]
    assert values(predictions, "path") == paths
    assert not errors
    assert fake.sessions[0].batches == [2]
    assert fake.sessions[0].closed


def test_json_holds_all_probabilities_and_the_top_k(fake, pictures):
    (prediction,), _ = predict(pictures / "7.png", "--top-k", 2)
    assert len(prediction["probabilities"]) == 10
    assert sum(prediction["probabilities"]) == pytest.approx(1, abs=1e-6)
    assert values(prediction["top_k"], "label") == ["7", "0"]
    assert prediction["steps"][0] == "inverted: dark ink on light paper"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", ["2.jpg", "7.png"]),
        ("*.png", ["7.png"]),
        ("**/*.png", ["7.png", "0.png"]),
        ("?.*", ["2.jpg", "7.png"]),
    ],
)
def test_a_folder_means_its_own_pictures_and_quoted_globs_are_expanded(
    fake, pictures, pattern, names
):
    predictions, _ = predict(pictures / pattern)
    assert [Path(path).name for path in values(predictions, "path")] == names


def test_a_name_with_brackets_is_itself_before_it_is_a_glob(fake, pictures):
    path = (pictures / "7.png").rename(pictures / "a[1].png")
    assert values(predict(path)[0], "path") == [str(path)]
    run(path)


def test_a_file_named_twice_is_classified_once(fake, pictures):
    predictions, _ = predict(pictures / "7.png", pictures / "*.png")
    assert len(predictions) == 1


def test_a_broken_file_is_reported_and_the_rest_goes_on(fake, pictures):
    broken = pictures / "broken.png"
    broken.write_bytes((pictures / "7.png").read_bytes()[:200])
    result = run(broken, pictures / "7.png", code=1)
    assert f"error: {broken}: expected" in result.stderr.replace("\n", "")
    assert "dark ink, inverted" in result.stdout
    missing = pictures / "none.png"
    predictions, errors = predict(broken, pictures / "7.png", missing, code=1)
    assert values(predictions, "label") == [7]
    assert errors == {str(broken), str(missing)}


def test_only_broken_files_load_no_network(fake, pictures):
    predictions, errors = predict(pictures / "notes.txt", code=1)
    assert predictions == []
    assert len(errors) == 1
    assert fake.sessions == []


@pytest.mark.parametrize("name", ["none.png", "*.gif", "empty"])
def test_no_file_at_all_is_a_usage_error(fake, pictures, name):
    (pictures / "empty").mkdir()
    assert run(pictures / name, code=2).stdout == ""


@pytest.mark.parametrize(
    "arguments", [(), ("--digits", "0"), ("--digits", "61"), ("--top-k", "11", "x.png"),
                  ("--digits", "3", "x.png")]
)  # fmt: skip
def test_usage_errors(fake, arguments):
    run(*arguments, code=2)


def test_bundled_digits_are_right_or_wrong(fake):
    assert "60 of 60 right" in run("--digits", 60).stdout
    predictions, _ = predict("--digits", 4)
    assert values(predictions, "expected") == values(predictions, "label") == [7, 2, 1, 0]
    assert all(values(predictions, "correct"))


def test_a_wrong_digit_is_said_to_be_wrong(fake, monkeypatch):
    monkeypatch.setattr(predict_command, "BUNDLED", BUNDLED[::-1])
    result = run("--digits", 1)
    assert "wrong: a 7" in result.stdout
    assert "0 of 1 right" in result.stdout


def test_options_reach_the_session(fake, pictures):
    run(pictures / "7.png", "--artifact", "mine", "--backend", "ort-cpu", "--threads", 2, "--trust")
    run(pictures / "7.png")
    assert [str(session.artifact.path) for session in fake.sessions] == ["mine", "default"]
    expected = {"backend": "ort-cpu", "device": "cpu", "threads": 2, "trust": True}
    assert fake.arguments[0] == expected
    assert fake.arguments[1]["trust"] is False


def test_a_static_artifact_gets_full_batches(fake):
    fake.batch_size = 8
    predictions, _ = predict("--digits", 10)
    assert len(predictions) == 10
    assert fake.sessions[0].batches == [8, 8]


def test_a_missing_engine_ends_with_4(monkeypatch, pictures):
    monkeypatch.setattr(lenet_runtime, "load", Mock(side_effect=BackendUnavailable("no engine")))
    run(pictures / "7.png", "--artifact", "x", code=4)


@pytest.mark.parametrize("width", ["80", "120"])
@pytest.mark.parametrize("arguments", [("--digits", "10"), ("--digits", "11"), ()])
def test_the_table_fits_the_terminal(fake, pictures, width, arguments):
    text = run(*(arguments or (pictures,)), width=width).stdout
    assert max(map(len, text.splitlines())) <= int(width)


def test_ten_digits_are_drawn_and_eleven_only_when_asked(fake):
    assert "▀" in run("--digits", 10).stdout
    assert "▀" not in run("--digits", 10, "--no-draw").stdout
    assert "▀" not in run("--digits", 11).stdout
    assert "▀" in run("--digits", 11, "--draw").stdout


@pytest.mark.parametrize("width", ["60", "80"])
@pytest.mark.parametrize("arguments", [("--draw",), ("--no-draw",), ("--json",)])
def test_a_family_network_of_28x28_answers_with_its_own_labels(tmp_path, width, arguments):
    pytest.importorskip("onnxruntime")
    artifact = lenet_export.export(
        lenet((1, 28, 28), classes=26, kernel=5), "onnx", tmp_path / "a", labels=LETTERS
    )
    np.save(tmp_path / "digits.npy", DIGITS.images[:2])
    Image.fromarray(255 - DIGITS.images[0]).resize((200, 200)).save(tmp_path / "seven.png")
    files = (tmp_path / "digits.npy", tmp_path / "seven.png")
    shown = run(*files, "--artifact", artifact.path, *arguments, width=width).stdout
    with lenet_runtime.load(artifact.path) as session:
        expected = session.predict(DIGITS.images[:2]).to_dict()
    if arguments == ("--json",):
        answers = json.loads(shown)["predictions"]
        assert [len(answer["probabilities"]) for answer in answers] == [26] * 3
        tops = [answer["top_k"][0]["label"] for answer in answers[:2]]
        assert tops == [answer["label"] for answer in expected]
        return
    assert_fits(shown.replace("[...]", ""), int(width))
    assert ("▀" in shown) == (arguments == ("--draw",))
    assert shown.count("├") == 2  # a line between the three
    for answer in expected:
        assert re.search(rf"│ +{answer['label']}\?? +│", shown)


def test_long_labels_leave_room_for_the_names(fake, pictures, monkeypatch):
    names = [f"a label of many words, {i}" for i in range(10)]
    monkeypatch.setattr(predict_command, "LABELS", names)
    drawn = run(pictures / "7.png", "--no-draw", width="60").stdout
    assert_fits(drawn, 60)
    assert "[...]" in drawn
    assert "dark ink" in drawn
    assert names[7] in run(pictures / "7.png", width="120").stdout


@pytest.mark.parametrize("shape", [(0, 28, 28), (0, 32, 32)])
def test_a_file_of_no_images_is_said_to_be_empty(fake, tmp_path, shape):
    np.save(tmp_path / "none.npy", np.zeros(shape, np.uint8))
    assert run(tmp_path / "none.npy").stdout == "0 images: the files hold none\n"
    assert predict(tmp_path / "none.npy") == ([], set())
    assert fake.sessions == []


def test_escape_sequences_in_a_name_do_not_reach_the_terminal(fake, pictures):
    path = (pictures / "7.png").rename(pictures / "\x1b[31m[bold]7.png")
    result = run(path, width="200")
    assert "\x1b" not in result.output
    assert r"\x1b[31m[bold]7.png" in result.output


def test_half_blocks_draw_two_rows_a_line():
    pixels = np.zeros((28, 28), np.uint8)
    pixels[4:7, 4:7] = [[255, 0, 255], [255, 255, 0], [0, 0, 255]]
    assert half_blocks(pixels) == "█▄▀\n  ▀"
    assert half_blocks(pixels, "ascii") == "#.'\n  '"
    assert half_blocks(np.zeros((28, 28), np.uint8)) == ""


def test_every_bundled_drawing_fits_its_column():
    for image in DIGITS.images:
        lines = half_blocks(image).splitlines()
        assert len(lines) <= 11
        assert max(map(len, lines)) <= 20


def test_bars_are_as_long_as_the_probability():
    assert bar(0.5, 10) == "█████     "
    assert bar(1, 4, "ascii") == "####"


def test_a_terminal_without_unicode_gets_ascii():
    pytest.importorskip("onnxruntime")
    drawn = run_alone("predict", "--digits", 1, PYTHONIOENCODING="ascii", COLUMNS="80").stdout
    assert "'###" in drawn
    assert "#########" in drawn


def test_pictures_in_colour_are_not_taken_for_grey_digits(pictures, tmp_path):
    """`Session.predict` resizes them in colour, which is another answer."""
    artifact = lenet_export.export(lenet((3, 32, 32)), "onnx", tmp_path / "rgb", batch_sizes=[1])
    result = run(str(pictures / "7.png"), "--artifact", str(artifact.path), code=2)
    assert "takes pictures in colour" in result.stderr
    run("--digits", "2", "--artifact", str(artifact.path))


def test_it_imports_no_torch(pictures):
    code = (
        "import sys; from lenet_deploy.cli import app;"
        f"app(['predict', {str(pictures / 'notes.txt')!r}], standalone_mode=False);"
        "sys.exit(1 if 'torch' in sys.modules else 0)"
    )
    assert "error" in python(code).stderr


def test_the_real_session_answers_alike_for_arrays_pictures_and_the_command(
    onnx_artifact, tmp_path
):
    pytest.importorskip("onnxruntime")
    file = tmp_path / "digit.png"
    Image.fromarray(DIGITS.images[0]).save(file)
    (prediction,), _ = predict(file, "--artifact", onnx_artifact.path)
    with lenet_runtime.load(onnx_artifact.path) as session:
        by_array = session.predict(DIGITS.images[:1])
        with Image.open(io.BytesIO(file.read_bytes())) as picture:
            by_picture = session.predict(picture)
    np.testing.assert_array_equal(by_array.probabilities, by_picture.probabilities)
    np.testing.assert_array_equal(
        np.float32(prediction["probabilities"]), by_array.probabilities[0]
    )


def test_answers_below_the_least_confidence_are_unsure():
    every = json.loads(run("--digits", "3", "--json", "--min-confidence", "1").stdout)
    assert [answer["unsure"] for answer in every["predictions"]] == [
        max(answer["probabilities"]) < 1 for answer in every["predictions"]
    ]
    assert any(answer["unsure"] for answer in every["predictions"])
    none = json.loads(run("--digits", "3", "--json").stdout)
    assert not any(answer["unsure"] for answer in none["predictions"])
    assert "unsure" in run("--digits", "3", "--min-confidence", "1").stdout
