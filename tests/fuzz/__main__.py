"""The driver: campaigns side by side until time is up; exits 1 if one of them found something."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz import CAMPAIGNS, ROOT

POLL_SECONDS = 0.1
MOST_MEMORY = 4 * 2**30  # bytes of a worker, before it is killed
MOST_WORKERS = 20  # of one campaign, that die or hang, before it ends
PREPARE = """
import sys, lenet_export
from lenet_deploy.training.checkpoint import load_checkpoint
for name in ("onnx", "native"):
    lenet_export.export(load_checkpoint(), name, f"{sys.argv[1]}/{name}")
"""


@dataclass
class Tally:
    """What one campaign did.

    Attributes:
        cases: Cases that were begun.
        words: How cases ended, and how often.
        findings: Number of the case, what it was and what was wrong, for each finding.
    """

    cases: int = 0
    words: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[int, str, str]] = field(default_factory=list)

    def read(self, log: Path) -> int:
        """Add what a worker's log says; returns the number of its last case."""
        number, notes = -1, ""
        for line in log.read_text().splitlines() if log.exists() else ():
            kind, _, text = line.partition(" ")
            if kind == ">":
                number, notes, self.cases = int(text), "", self.cases + 1
            elif kind == "#":
                notes += f"{text}; "
            elif kind == "=":
                self.words[text] += 1
            elif kind == "!":
                self.findings.append((number, notes, text))
        return number


def main() -> int:
    """Run the campaigns; returns the exit code."""
    flags = argparse.ArgumentParser(prog="python -m tests.fuzz")
    flags.add_argument("--seconds", type=float, default=60, help="for all campaigns together")
    flags.add_argument("--only", default=",".join(CAMPAIGNS), metavar="NAME,NAME")
    flags.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    flags.add_argument("--case", type=int, help="this case alone; needs --seed and --only")
    flags.add_argument("--jobs", type=int, default=2, metavar="N", help="campaigns at a time")
    told = flags.parse_args()
    names = told.only.split(",")
    if unknown := set(names) - set(CAMPAIGNS):
        flags.error(f"--only: expected some of {', '.join(CAMPAIGNS)}, found {unknown}")
    share = told.seconds * min(told.jobs, len(names)) / len(names)
    print(f"seed {told.seed}, {share:.0f} s for each of {len(names)} campaigns", flush=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        work = Path(folder)
        subprocess.run([sys.executable, "-c", PREPARE, folder], env=environment(), check=True)

        def campaign(name: str) -> bool:
            tally = run(name, told.seed, told.case, share, work)
            print("\n".join(report(name, told.seed, tally)), flush=True)
            return not tally.findings

        with ThreadPoolExecutor(told.jobs) as pool:
            return 0 if all(list(pool.map(campaign, names))) else 1


def environment() -> dict[str, str]:
    """This process's, with the checkout's packages."""
    paths = [str(ROOT / part) for part in (".", "export", "runtime", "benchmarks", "serving")]
    before = os.environ.get("PYTHONPATH", "")
    return os.environ | {"PYTHONPATH": os.pathsep.join([*paths, before]), "OMP_NUM_THREADS": "1"}


def run(name: str, seed: int, case: int | None, seconds: float, work: Path) -> Tally:
    """Run a campaign in workers: one that dies is followed by one that begins behind its case."""
    tally, end, first = Tally(), time.monotonic() + seconds, case or 0
    for attempt in range(MOST_WORKERS):
        scratch = work / f"{name}-{attempt}"
        scratch.mkdir()
        log, err = scratch.with_suffix(".log"), scratch.with_suffix(".err")
        command = [
            sys.executable, "-m", "tests.fuzz.worker", name, f"--seed={seed}", f"--first={first}",
            f"--count={int(case is not None)}", f"--seconds={end - time.monotonic()}",
            f"--artifacts={work}", f"--scratch={scratch}", f"--log={log}",
        ]  # fmt: skip
        with err.open("w") as file:
            worker = subprocess.Popen(
                command, cwd=ROOT, env=environment() | {"TMPDIR": str(scratch)},
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
        why = watched(worker, log, CAMPAIGNS[name].hang_seconds)
        number = tally.read(log)
        if not why:
            return tally
        last = (err.read_text(errors="replace").strip().splitlines() or [""])[-1]
        notes = [line[2:] for line in log.read_text().rpartition("> ")[2].splitlines()[1:]]
        tally.findings.append((number, "; ".join(notes), f"{why} {last}".strip()))
        first = number + 1
        if case is not None or time.monotonic() > end:
            break
    return tally


def watched(worker: subprocess.Popen[bytes], log: Path, hang_seconds: float) -> str:
    """Wait for a worker; returns how it failed, empty where it did not. Leaves nothing running."""
    seen, since, why = -1, time.monotonic(), ""
    while worker.poll() is None and not why:
        time.sleep(POLL_SECONDS)
        size = log.stat().st_size if log.exists() else 0
        if size != seen:
            seen, since = size, time.monotonic()
        elif time.monotonic() - since > hang_seconds:
            why = f"hangs: nothing in {hang_seconds:.0f} s."
        if resident(worker.pid) > MOST_MEMORY:
            why = f"takes more than {MOST_MEMORY >> 30} GiB."
    if why:
        worker.kill()
    code = worker.wait()
    return why or (f"the process ended with {code}." if code else "")


def resident(pid: int) -> int:
    """Bytes of memory that a process has; 0 where it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def report(name: str, seed: int, tally: Tally):
    """Lines about a campaign: its counts, and each kind of finding with the case to repeat."""
    words = ", ".join(f"{count} {word}" for word, count in sorted(tally.words.items()))
    yield f"{name}: {tally.cases} cases: {words}; {len(tally.findings)} findings"
    kinds: dict[str, list[tuple[int, str, str]]] = {}
    for finding in tally.findings:
        kinds.setdefault(re.sub(r"[\d.]+", "N", finding[2])[:60], []).append(finding)
    for findings in kinds.values():
        number, notes, text = min(findings, key=lambda finding: len(finding[1]))
        yield f"  {len(findings)} times, the shortest: {text[:1000]}\n    {notes[:1000]}"
        yield f"    again: python -m tests.fuzz --only {name} --seed {seed} --case {number}"


if __name__ == "__main__":
    sys.exit(main())
