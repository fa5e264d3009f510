"""docs/batch.md: every block of it runs."""

import contextlib
import gzip
import io
import json
import re
import shlex

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from cli_helper import run
from processes import REPOSITORY

import batch_inputs
from batch_inputs import DIGITS, N, png

PAGE = (REPOSITORY / "docs" / "batch.md").read_text()
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What the blocks print, run from first to last in one folder."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "digits.parquet").write_bytes(batch_inputs.parquet(rows=N))
    (folder / "digits-idx3-ubyte.gz").write_bytes(gzip.compress(batch_inputs.idx()))
    (folder / "scans" / "monday").mkdir(parents=True)
    for number, digit in enumerate(DIGITS[:8]):
        (folder / "scans" / "monday" / f"{number}.png").write_bytes(png(digit))
    printed = []
    with contextlib.chdir(folder):
        for kind, block in BLOCKS:
            printed.append("")
            for line in block.splitlines() if kind == "sh" else ():
                program, *words = shlex.split(line)
                assert program == "lenet-deploy"
                printed[-1] += run(*words).stdout
            if kind == "python":
                with contextlib.redirect_stdout(io.StringIO()) as shown:
                    exec(compile(block, "docs/batch.md", "exec"), {})
                printed[-1] = shown.getvalue()
        yield folder, printed


def test_the_page_has_no_block_that_is_not_run():
    assert PAGE.count("```") == 2 * len(BLOCKS) == 12


def test_commands_say_what_they_did(printed):
    _, texts = printed
    first, again = (text for (kind, _), text in zip(BLOCKS, texts, strict=True) if kind == "sh")
    assert [f"{n} rows, 0 of them errors" in first for n in (8, N)] == [True, True]
    assert again.count("0 of them errors") == 2


def test_outputs_are_what_the_page_says(printed):
    folder, texts = printed
    names = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    kept = ds.dataset(folder / "out").to_table()
    assert kept.schema.names == names[:6]
    assert kept["row"].to_pylist() == [*range(N)]
    assert (folder / "out" / "_SUCCESS").is_file()
    assert texts[1].startswith("scans/monday/0.png None ")
    assert len((folder / "labels.csv").read_text().splitlines()) == N + 1
    assert pq.read_table(folder / "more.parquet").num_rows == 8
    assert pq.read_metadata(folder / "fast.parquet").num_rows == 60
    document = json.loads(pq.read_metadata(folder / "labels.parquet").metadata[b"lenet_deploy"])
    assert document["artifact"]
    assert texts[-1].startswith("['id', 'label', 'probability', 'top', 'error'] [")
