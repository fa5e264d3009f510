"""The command; see the package's docstring."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.serve.differential import ours, run, verdicts

PAGE = Path(__file__).resolve().parents[3] / "docs" / "serving-differences.md"
INTRODUCTION = """\
# What differs from Triton

The same bytes were sent to Triton 2.51, with our generated C as its backend, and to `lenet-deploy
serve`. {counts}. Equal are status and shape of the answer, and the logits to five digits; these are
all the others. *Better* serves clients or operators better; *other* is a choice that hurts neither.
M is the model's name. Requests stand in `tests/serve/differential/`; `make test-triton` sends them
to both, and writes this page.
"""


def main() -> int:
    """Compare, say how many of each, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.serve.differential")
    parser.add_argument("artifact", type=Path, help="an exported folder of format native")
    parser.add_argument("--triton", action="store_true", help="start it and check the recording")
    parser.add_argument("--record", action="store_true", help="start it and write the recording")
    parser.add_argument("--page", action="store_true", help="write docs/serving-differences.md")
    arguments = parser.parse_args()
    news: list[str] = []
    if arguments.record:
        run.write(ask_triton(arguments.artifact))
    elif arguments.triton:
        news = changed(ask_triton(arguments.artifact), run.recorded())
    every = compare(arguments.artifact)
    worse = [
        f"worse: {v.protocol} {v.case}: Triton {v.triton}, ours {v.ours}"
        for v in every
        if v.verdict == "worse"
    ]
    counts = verdicts.counts(every)
    print("\n".join([*news, *worse, counts]))
    if arguments.page:
        PAGE.write_text(INTRODUCTION.format(counts=counts) + verdicts.markdown(every) + "\n")
    return int(bool(news or worse))


def compare(artifact: Path) -> list[verdicts.Verdict]:
    """Start ours, and hold its answers against the recording."""
    with ours.started(artifact) as (http, grpc):
        answers = run.answers(http, grpc)
    triton = run.recorded()
    return [v for p in answers for v in verdicts.judge(p, answers[p], triton[p])]


def ask_triton(artifact: Path) -> dict[str, run.Answers]:
    """Start Triton with our C, and put all cases to it."""
    from benchmarks.serve import triton

    with tempfile.TemporaryDirectory(prefix="triton-") as scratch:
        repository = Path(scratch) / "models"
        triton.packaged(repository, artifact)
        with triton.started(repository) as server:
            return run.steady(run.answers(server.http, server.grpc))


def changed(answers: dict[str, run.Answers], recorded: dict[str, run.Answers]) -> list[str]:
    """Cases that Triton answers otherwise than when it was recorded."""
    return [
        f"Triton, {protocol} {name}: recorded {verdicts.both(recorded[protocol].get(name, []))}, "
        f"now {verdicts.both(each)}"
        for protocol, cases in answers.items()
        for name, each in cases.items()
        if each != recorded[protocol].get(name)
    ]


if __name__ == "__main__":
    sys.exit(main())
