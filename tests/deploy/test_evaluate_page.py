"""The page of an evaluation holds every wrong digit, loads nothing, and keeps names text."""

import base64
import io
import re
import sys

import numpy as np
import pytest
import torch
from cli_helper import run
from PIL import Image

from lenet_deploy.cli import evaluate_page
from lenet_deploy.training.checkpoint import save_checkpoint
from lenet_deploy.training.data import Split, load_mnist
from lenet_deploy.training.evaluation import Evaluation, Mistake
from lenet_deploy.training.model import Net
from lenet_runtime.errors import ArtifactError, BackendUnavailable
from lenet_runtime.images.preprocess import Preprocessing

SCRIPT = "</style><script>alert(1)</script><b>\"q\" 'q' &"


def page_of(evaluation, split, tmp_path, **options):
    path = tmp_path / "page.html"
    options = {"checkpoint": "bundled", "preprocessing": Preprocessing()} | options
    evaluate_page.write_page(evaluation, split, path, **options)
    return path.read_text(encoding="utf-8")


@pytest.fixture
def split():
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.integers(0, 256, (20, 28, 28), np.uint8))
    return Split(images, torch.arange(20) % 10)


def judged(*mistakes):
    """An evaluation of 20 digits, two of each."""
    confusion = 2 * np.eye(10, dtype=np.int64)
    for mistake in mistakes:
        confusion[mistake.label, mistake.label] -= 1
        confusion[mistake.label, mistake.answer] += 1
    return Evaluation(confusion, mistakes)


DOUBTFUL, SURE = Mistake(4, 4, 9, 0.51, 0.49), Mistake(17, 7, 1, 0.98, 0.01)


def test_every_wrong_digit_is_drawn_the_surest_first(split, tmp_path):
    page = page_of(judged(DOUBTFUL, SURE), split, tmp_path)
    assert "<h1>90.00% of 20 test digits right</h1>" in page
    cards = re.findall("<figure>(.*?)</figure>", page)
    assert ["index 17" in card for card in cards] == [True, False]
    assert 'is <b>7</b> <i>1%</i><br>read <b class="answer">1</b> <i>98%</i>' in cards[0]
    for card, mistake in zip(cards, (SURE, DOUBTFUL), strict=True):
        data = re.search(r'src="data:image/png;base64,([^"]+)"', card).group(1)
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert (pixels == split.images[mistake.index].numpy()).all()


def test_the_matrix_colours_mistakes_alone(split, tmp_path):
    page = page_of(judged(DOUBTFUL, SURE), split, tmp_path)
    (table,) = re.findall('<table class="confusion">(.*?)</table>', page, re.DOTALL)
    rows = re.findall("<tr.*?</tr>", table)[1:]
    assert len(rows) == 10
    assert [row.count('class="mistake"') for row in rows] == [0, 0, 0, 0, 1, 0, 0, 1, 0, 0]
    assert "50.00%" in rows[4]
    assert "100.00%" in rows[5]


def test_a_low_accuracy_and_what_was_assumed_are_said(split, tmp_path):
    wrong = [Mistake(n, n % 10, (n + 1) % 10, 0.5, 0.1) for n in range(4)]
    page = page_of(judged(*wrong), split, tmp_path, notes=["assumed: <ReLU>"])
    assert 'class="alert" role="note">Accuracy is 80.00%' in page
    assert "assumed: &lt;ReLU&gt;" in page
    assert "alert" not in page_of(judged(SURE), split, tmp_path).partition("<body>")[2]


def test_no_mistake_at_all_is_a_page_too(split, tmp_path):
    assert "<p>None.</p>" in page_of(judged(), split, tmp_path)


def test_the_page_loads_nothing_and_runs_nothing(split, tmp_path):
    page = page_of(judged(DOUBTFUL), split, tmp_path)
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"<(script|link|iframe)\b|https?://", page)
    assert set(re.findall(r'src="([a-z]+:)', page)) == {"data:"}


def test_foreign_names_stay_text(split, tmp_path):
    labels = [SCRIPT] * 10
    page = page_of(judged(SURE), split, tmp_path, checkpoint=SCRIPT, labels=labels)
    assert page.count("alert(1)") > 10
    assert "<script" not in page
    assert page.count("</style>") == 1


def test_a_page_of_a_hopeless_network_stays_small(split, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_page, "MOST_DRAWN", 3)
    wrong = [Mistake(n, n % 10, (n + 1) % 10, 0.5, 0.1) for n in range(10)]
    page = page_of(judged(*wrong), split, tmp_path)
    assert page.count("<figure>") == 3
    assert "These are the first 3 of 10." in page


def test_a_folder_that_is_missing_is_named(split, tmp_path):
    with pytest.raises(ArtifactError, match="nowhere"):
        page_of(judged(), split, tmp_path / "nowhere")


def test_without_pillow_the_extra_is_named(split, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(BackendUnavailable, match="Pillow"):
        page_of(judged(SURE), split, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_it_without_matplotlib_and_plotly(mnist, tmp_path, monkeypatch):
    for name in ("matplotlib", "plotly", "torchvision"):
        monkeypatch.setitem(sys.modules, name, None)
    torch.manual_seed(0)
    save_checkpoint(Net(), tmp_path / "net.safetensors", {})
    page, flags = tmp_path / "page.html", ("--checkpoint", tmp_path / "net.safetensors")
    done = run("evaluate", *flags, "--data-dir", mnist, "--html", page)
    assert "wrote" in done.stderr
    text = page.read_text()
    wrong = int(re.search(r"<dt>Wrong</dt><dd>(\d+)<", text).group(1))
    assert text.count("<figure>") == wrong > 20
    labels = load_mnist(mnist, train=False).labels
    for index, label in re.findall(r"digit (\d+), which is (\d)", text):
        assert labels[int(index)] == int(label)
