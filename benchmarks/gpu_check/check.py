"""The whole check: exports, parity, latency, in that order and within a budget."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.gpu_check import (
    AHEAD,
    ALONE,
    BUDGET_S,
    EXPORTED,
    LATENCY_SIZES,
    OURS,
    PARITY_SIZES,
    PROVEN,
    QUICK_LATENCY,
    QUICK_PARITY,
    SANITIZED,
    TIMED,
    TUNES,
    TUNING,
)  # fmt: skip
from benchmarks.gpu_check.jobs import Budget, Job, Outcome, Runner
from benchmarks.gpu_check.participants import Participant, exports, ours, peers

ATTEMPTS = 3  # at the latency, each without whoever brought the last one down


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
        device: The GPU's name, ``cuda:N``.
        only: Parts of engines' names; none for all engines.
        quick: Take small batches and few samples, to see whether everything works.
        sanitize: Run a small parity under compute-sanitizer.
        budget_s: Seconds that the check may take.
    """

    device: str
    only: tuple[str, ...] = ()
    quick: bool = False
    sanitize: bool = False
    budget_s: float = BUDGET_S


@dataclass
class Findings:
    """What is known so far; complete at every moment, so that it can be written at any.

    Attributes:
        exports, parity: Outcomes by the name of the export and of the engine.
        latency: Documents of `lenet_bench.report`, one per attempt.
        sanitizer: For each tool and engine ``tool``, ``engine``, ``ok`` and ``reason``.
        skipped: What was not done, ``what``, and its ``reason``.
        interrupted: Whether Ctrl-C ended the check.
    """

    exports: dict[str, Outcome] = field(default_factory=dict)
    parity: dict[str, Outcome] = field(default_factory=dict)
    latency: list[dict[str, Any]] = field(default_factory=list)
    sanitizer: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    interrupted: bool = False

    def skip(self, what: str, reason: str) -> None:
        """List what was not done."""
        self.skipped.append({"what": what, "reason": reason})

    def failures(self) -> list[str]:
        """Engines that answered otherwise than eager, or that a sanitizer found fault with."""
        wrong = [name for name, outcome in self.parity.items() if wrong_rows(outcome.result)]
        return wrong + [f"{s['tool']} {s['engine']}" for s in self.sanitizer if s["ok"] is False]


def wrong_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The comparisons of a parity job that failed."""
    rows = [*result.get("comparisons", ()), *result.get("steps", ())]
    return [row for row in rows if row["reason"]]


class Check:
    """See the module.

    Args:
        options: What the command line asks for.
        folder: A folder for everything that the check makes.
        say: Called with a line of progress.
    """

    def __init__(self, options: Options, folder: Path, say: Callable[[str], None]) -> None:
        self.findings, self._options, self._folder = Findings(), options, folder
        self._runner, self._budget = Runner(folder, say), Budget(options.budget_s)
        self._parity_sizes = QUICK_PARITY if options.quick else PARITY_SIZES
        self._latency_sizes = QUICK_LATENCY if options.quick else LATENCY_SIZES
        self._width = max(1, min(6, (os.cpu_count() or 1) // 2))
        self._references = folder / "references.npz"
        self._exports = exports(options.device, folder)

    def run(self) -> None:
        """Everything; `findings` is what came of it, also where this is interrupted."""
        device, only = self._options.device, self._options.only
        everyone = ours(self._exports) + peers(device, self._latency_sizes)
        chosen = [p for p in everyone if not only or any(part in p.name for part in only)]
        if self._options.quick:
            tuned = {name for name, a in self._exports.items() if a["format"] in TUNES}
            for participant in [p for p in chosen if p.compiled or p.export in tuned]:
                chosen.remove(participant)
                reason = "--quick leaves out what is tuned on the GPU"
                self.findings.skip(participant.name, reason)
        compiled = [p for p in chosen if p.compiled]
        self._tune(self._export({p.export for p in chosen}), compiled)
        built = {name for name, outcome in self.findings.exports.items() if not outcome.reason}
        able = [p for p in chosen if p.export in built or not (p.export or p.compiled)]
        passed = self._prove(able, compiled)
        if self._options.sanitize:
            self._sanitize([p for p in passed if p.backend == OURS])
        self._time(passed)

    def _export(self, names: set[str | None]) -> dict[str, str]:
        """Make the artifacts that may share the GPU, and the references meanwhile.

        Returns:
            The others' names, with the reason why each cannot be made; empty where it may be.
        """
        kinds = {name: a["format"] for name, a in self._exports.items() if name in names}
        sizes = sorted({*self._parity_sizes, *self._latency_sizes})
        arguments = {"sizes": sizes, "path": str(self._references)}
        jobs = [
            Job("references", "references", arguments, 150.0),
            Job("probe", "probe", {"device": self._options.device}),
            *(self._export_job(name) for name, kind in kinds.items() if kind not in ALONE),
        ]
        outcomes = self._runner.run(jobs, self._budget.left(EXPORTED), self._width)
        unavailable = outcomes.pop("probe").result.get("unavailable", {})
        if reason := outcomes.pop("references").reason:
            self.findings.skip("parity of everything", f"no references: {reason}")
        self._keep_exports(outcomes)
        return {name: unavailable.get(kind, "") for name, kind in kinds.items() if kind in ALONE}

    def _tune(self, rivals: dict[str, str], compiled: list[Participant]) -> None:
        """Make what must be tuned at its best, one after the other, while nothing else runs.

        The rivals that are built, and those that compile and check parity in one job, have half of
        the time each.
        """
        self._keep_exports({name: Outcome(reason=why) for name, why in rivals.items() if why})
        jobs = [self._export_job(name) for name, why in rivals.items() if not why]
        seconds = self._budget.left(EXPORTED) / (2 if compiled else 1)
        self._keep_exports(self._runner.run(jobs, seconds, 1))
        for number, peer in enumerate(compiled, 1):
            left = self._budget.left(EXPORTED)
            share = min(1.0, AHEAD / (1 + len(compiled) - number))
            job = self._parity_job(peer, self._latency_sizes, share * left)
            self.findings.parity |= self._runner.run([job], left, 1)

    def _export_job(self, name: str) -> Job:
        kind = self._exports[name]["format"]
        seconds = TUNING * self._options.budget_s if kind in TUNES else 90.0
        return Job(name, "export", self._exports[name], 180.0 if kind in ALONE else seconds)

    def _keep_exports(self, outcomes: dict[str, Outcome]) -> None:
        self.findings.exports |= outcomes
        for name, outcome in outcomes.items():
            if outcome.reason:
                self.findings.skip(name, outcome.reason)

    def _prove(self, able: list[Participant], compiled: list[Participant]) -> list[Participant]:
        """Check parity; returns who passed, compiled peers with the sizes that they got to."""
        if not self._references.exists():
            return []
        jobs = [self._parity_job(participant, self._parity_sizes) for participant in able]
        self.findings.parity |= self._runner.run(jobs, self._budget.left(PROVEN), self._width)
        passed = []
        for participant in able + compiled:
            outcome = self.findings.parity[participant.name]
            for reason in filter(None, [outcome.reason, *outcome.result.get("skipped", [])]):
                self.findings.skip(f"parity of {participant.name}", reason)
            if outcome.result.get("ok") and participant.compiled:
                sizes = {row["batch_size"] for row in outcome.result["comparisons"]}
                passed.append(replace(participant, sizes=tuple(sorted(sizes))))
            elif outcome.result.get("ok") and not outcome.reason:
                passed.append(participant)
        return passed

    def _parity_job(
        self, participant: Participant, sizes: Sequence[int], seconds: float = 60.0
    ) -> Job:
        arguments = {
            "participant": asdict(participant), "references": str(self._references), "sizes": sizes,
        }  # fmt: skip
        return Job(participant.name, "parity", arguments, seconds)

    def _time(self, participants: list[Participant]) -> None:
        """Latency; where the process dies, again without whoever was at work."""
        sizes, doing = list(self._latency_sizes), self._folder / "doing"
        for _ in range(ATTEMPTS):
            left = self._budget.left(TIMED)
            if not participants or not sizes or left < 5:
                break
            arguments = {
                "participants": [asdict(p) for p in participants], "sizes": sizes,
                "device": self._options.device, "doing": str(doing), "quick": self._options.quick,
                # The last batch size may be a little over its time.
                "seconds": max(1.0, left - 10),
            }  # fmt: skip
            job = Job("latency", "latency", arguments, left + 10)
            try:
                outcome = self._runner.run([job], left + 10, 1)["latency"]
            except KeyboardInterrupt:
                self.findings.latency += filter(None, [self._runner.written(job)])
                raise
            self.findings.latency += filter(None, [outcome.result])
            if not outcome.reason:
                return
            culprit = doing.read_text() if doing.exists() else ""
            self.findings.skip(f"latency, during {culprit or 'preparation'}", outcome.reason)
            done = {row["batch_size"] for row in outcome.result.get("results", [])}
            sizes = [size for size in sizes if size not in done]
            participants = [p for p in participants if p.name != culprit]
        for size in sizes:
            self.findings.skip(f"latency at batch {size}", "no engine, or no time, was left for it")

    def _sanitize(self, participants: list[Participant]) -> None:
        sanitizer = shutil.which("compute-sanitizer")
        if sanitizer is None or not participants:
            reason = f"{OURS} did not pass" if sanitizer else "compute-sanitizer is not on PATH"
            self.findings.skip("sanitizer", reason)
            return
        for participant in participants:
            for tool in ("memcheck", "racecheck"):
                job = replace(
                    self._parity_job(participant, QUICK_PARITY),
                    name=f"{tool} {participant.name}",
                    wrapper=(sanitizer, "--tool", tool, "--error-exitcode", "9"),
                )
                outcome = self._runner.run([job], self._budget.left(SANITIZED), 1)[job.name]
                late = "skipped" in outcome.reason or "ended after" in outcome.reason
                ok = None if late else not outcome.reason
                self.findings.sanitizer.append(
                    {"tool": tool, "engine": participant.name, "ok": ok, "reason": outcome.reason}
                )
