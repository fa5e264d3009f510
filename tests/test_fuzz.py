"""The fuzz driver finds what it is there to find; the campaigns themselves are `make fuzz`."""

import os
import subprocess
import sys
import time

import pytest

import tests.fuzz.__main__ as driver
from lenet_runtime.errors import InputError
from tests.fuzz import CAMPAIGNS, Draw, worker

kept = []


def wrong(draw):
    raise ValueError("an error of another type")


def leaks(draw):
    kept.append(os.open("/dev/null", os.O_RDONLY))
    return "right"


def fills_memory(draw):
    return "right" if bytearray(64 * 2**20) else ""


def computes(draw):
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    return "right"


class Raw(InputError):
    """An error that shows its text as it came, which the product's own do not."""

    def __init__(self, text):
        super().__init__(text)
        self.text = text

    def __str__(self):
        return self.text


def is_long(draw):
    raise Raw("x" * 20_001)


def cannot_be_written(draw):
    raise Raw("label \ud800")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (wrong, "ValueError: an error of another type"),
        (leaks, "left 1 descriptors open"),
        (fills_memory, "MiB"),
        (computes, "s of processor time"),
        (is_long, "a message of 20001 characters"),
        (cannot_be_written, "cannot be written"),
        (lambda draw: "right", None),
    ],
)
def test_whatever_is_no_typed_error_and_no_right_answer_is_a_finding(case, said):
    draw, words = Draw("x", 0, 0, print), []
    found = list(worker.faults(case, draw, 0.2, 32, lambda kind, word: words.append(word)))
    assert len(words) == 1
    assert [said in fault for fault in found] == ([True] if said else [])
    while kept:
        os.close(kept.pop())


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.abort()", "the process ended with -6."),
        ("import time; time.sleep(60)", "hangs"),
        ("pass", ""),
    ],
)
def test_a_worker_that_dies_or_hangs_is_a_finding(tmp_path, program, said):
    process = subprocess.Popen([sys.executable, "-c", program])
    assert driver.watched(process, tmp_path / "log", 2)[: len(said) or None] == said
    assert process.poll() is not None


def test_a_log_says_which_case_failed_and_what_it_was(tmp_path):
    log, tally = tmp_path / "log", driver.Tally()
    log.write_text("> 4\n= right\n> 5\n# flip at 3\n! TypeError: no\n= failed\n> 6\n")
    assert tally.read(log) == 6
    assert (tally.cases, dict(tally.words)) == (3, {"right": 1, "failed": 1})
    assert tally.findings == [(5, "flip at 3; ", "TypeError: no")]
    assert "--only a --seed 7 --case 5" in "\n".join(driver.report("a", 7, tally))


def test_equal_seeds_draw_alike():
    once, again, other = (Draw("a", seed, 3, print).random() for seed in (1, 1, 2))
    assert once == again != other


def test_one_campaign_from_the_command_line():
    """The cheapest one, whole: it prepares artifacts, runs cases, and reports them."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--only", "objects", "--seed", "1", "--case", "3"],
        cwd=driver.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "objects: 1 cases" in done.stdout
    assert set(CAMPAIGNS) > {"objects"}
