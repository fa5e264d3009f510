"""Counts the instructions that LeNet takes on microcontrollers, ours and others', in QEMU.

    python -m benchmarks.microcontroller --sources DIR --tensorflow PYTHON --onnx2c PROGRAM

benchmarks/microcontroller/README.md says how to get the three, what is counted, and what is not.
"""

import argparse
import datetime
import hashlib
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.microcontroller.building import HERE, DoesNotFitError, Participant, Run, measure
from benchmarks.microcontroller.cores import CORES, Core
from benchmarks.microcontroller.participants import everyone, nothing
from benchmarks.microcontroller.prepare import Tools, prepare, rights, write_json
from benchmarks.microcontroller.table import markdown

Row = dict[str, str | int]
RESULTS = HERE.parent / "results"
COMMAND = "python -m benchmarks.microcontroller --sources DIR --tensorflow PYTHON --onnx2c PROGRAM"


def main() -> int:
    """Measure, write the results and print the table."""
    arguments = parse()
    tools = Tools(arguments.sources, arguments.tensorflow, arguments.onnx2c)
    date = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    path = arguments.json or RESULTS / f"microcontroller-{date}.json"
    with tempfile.TemporaryDirectory(prefix="microcontroller-") as scratch:
        work = arguments.work or Path(scratch)
        said = prepare(work, tools)
        rows = measure_all(work, tools, arguments.only)
    if arguments.only:
        # The others' counts are the same in each run.
        rows += [row for row in _known(path) if arguments.only not in str(row["participant"])]
    document = {
        "date": date, "command": COMMAND, "versions": tools.versions(), "said": said, "rows": rows
    }  # fmt: skip
    write_json(path, document)
    text = markdown(document)
    path.with_suffix(".md").write_text(text)
    print(text)
    return 0


def _known(path: Path) -> list[Row]:
    rows: list[Row] = json.loads(path.read_text())["rows"]
    return rows


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.microcontroller",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sources", type=Path, required=True, metavar="DIR")
    parser.add_argument("--tensorflow", type=Path, required=True, metavar="PYTHON")
    parser.add_argument("--onnx2c", type=Path, required=True, metavar="PROGRAM")
    parser.add_argument(
        "--only", default="", metavar="TEXT",
        help="participants whose name has it; the rows of others stay as FILE has them",
    )  # fmt: skip
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep what is built, for reuse")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def measure_all(work: Path, tools: Tools, only: str) -> list[Row]:
    """Measure all participants on all cores, each at each level of optimisation."""
    rows = []
    for core in CORES.values():
        empty = {kind: measure(nothing(kind), core, "-O2", work) for kind in ("float", "int8_t")}
        for participant in everyone(work, tools.sources):
            if only not in participant.name:
                continue
            for level in _levels(participant, core):
                print(f"{core.name} {participant.name} {level}", file=sys.stderr, flush=True)
                try:
                    run = measure(participant, core, level, work)
                except DoesNotFitError:
                    print("does not fit", file=sys.stderr)
                    continue
                rows.append(_row(participant, core, level, run, empty[participant.logits]))
    return rows


def _levels(participant: Participant, core: Core) -> tuple[str, ...]:
    """One where all time goes into the compiler's floats, and goes slowly here, too."""
    slow = participant.precision == "fp32" and not core.computes_floats
    return ("-O2",) if slow else participant.levels


def _row(participant: Participant, core: Core, level: str, run: Run, empty: Run) -> Row:
    dtype = "int8" if participant.logits == "int8_t" else "float32"
    return {
        "participant": participant.name,
        "title": participant.title,
        "precision": participant.precision,
        "core": core.name,
        "core_title": core.title,
        "machine": core.machine,
        "flags": " ".join((level, *core.flags)),
        "level": level,
        "instructions_per_image": run.instructions,
        "flash_bytes": run.flash - empty.flash,
        "static_bytes": run.ram - empty.ram,
        "setup_stack_bytes": run.setup_stack,
        "stack_bytes": run.stack,
        "right_of_60": rights(run.logits, dtype),
        "logits_sha256": hashlib.sha256(b"".join(run.logits)).hexdigest(),
    }


if __name__ == "__main__":
    sys.exit(main())
