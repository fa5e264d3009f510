"""The command; see the package's docstring."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.serve.differential import ours, run, verdicts

PAGE = Path(__file__).resolve().parents[3] / "docs" / "serving-differences.md"
INTRODUCTION = """\
# What differs from Triton

The same requests, {counts}, were put to Triton 2.51 (with our generated C as its backend) and to
`lenet-deploy serve`, byte for byte. These are all the differences, with their reasons; `make
test-triton` makes this page. Where nothing is listed, status and shape of the answer are equal.
*Better* serves clients or operators better; *other* is a choice that hurts neither.

"""


def main() -> int:
    """Compare, say how many of each, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.serve.differential")
    parser.add_argument("artifact", type=Path, help="an exported folder of format native")
    parser.add_argument("--triton", action="store_true", help="start Triton and record it")
    parser.add_argument("--page", action="store_true", help="write docs/serving-differences.md")
    arguments = parser.parse_args()
    if arguments.triton:
        record(arguments.artifact)
    with ours.started(arguments.artifact) as (http, grpc):
        answers = {"REST": run.over_rest(http), "gRPC": run.over_grpc(grpc)}
    triton = run.recorded()
    every = [v for p in answers for v in verdicts.judge(p, answers[p], triton[p])]
    counts = verdicts.counts(every)
    for v in every:
        if v.verdict == "worse":
            print(f"worse: {v.protocol} {v.case}: Triton {v.triton}, ours {v.ours}")
    print(counts)
    if arguments.page:
        PAGE.write_text(INTRODUCTION.format(counts=counts) + verdicts.markdown(every) + "\n")
    return int(any(v.verdict == "worse" for v in every))


def record(artifact: Path) -> None:
    """Start Triton, and compare what it answers with the recording, which is then replaced."""
    from benchmarks.serve import triton

    before = run.recorded() if run.RECORDING.exists() else {}
    with tempfile.TemporaryDirectory(prefix="triton-") as scratch:
        repository = Path(scratch) / "models"
        triton.c_model(repository, artifact)
        with triton.started(repository) as server:
            run.write(run.over_rest(server.http), run.over_grpc(server.grpc))
    for protocol, cases in run.recorded().items():
        for name, answers in cases.items():
            if before and answers != before[protocol].get(name):
                print(f"Triton: {protocol} {name}: {before[protocol].get(name)} was {answers}")


if __name__ == "__main__":
    sys.exit(main())
