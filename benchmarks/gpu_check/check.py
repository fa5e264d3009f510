"""The whole check: exports, parity, latency, in that order and within a budget."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.gpu_check import (
    BUDGET_S,
    COMPILED,
    EXPORTED,
    LATENCY_SIZES,
    OURS,
    PARITY_SIZES,
    PROVEN,
    RIVALS,
    TIMED,
)  # fmt: skip
from benchmarks.gpu_check.engines import Engine, Export, exports, ours
from benchmarks.gpu_check.steps import Budget, Outcome, Runner, Step

QUICK_PARITY, QUICK_LATENCY = (1, 2, 7, 64), (1, 64)
ATTEMPTS = 3  # at the latency, each without whoever brought the last one down


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
        device: ``cuda:N``.
        only: parts of names of engines; none for all.
        quick: small batches and few samples, to see whether everything works.
        sanitize: run a small parity under compute-sanitizer.
        budget_s: seconds that it may take.
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
        exports, parity: by name of the export and of the engine.
        latency: documents of `lenet_bench.report`, one per attempt.
        sanitizer: one per tool: ``tool``, ``engine``, ``ok`` and ``reason``.
        skipped: ``what`` and ``reason``.
        interrupted: whether Ctrl-C ended it.
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
        wrong = [name for name, one in self.parity.items() if one.result and wrong_rows(one.result)]
        return wrong + [f"{s['tool']} {s['engine']}" for s in self.sanitizer if s["ok"] is False]


def wrong_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Comparisons of a parity step that failed."""
    return [row for row in result["comparisons"] + result["steps"] if row["reason"]]


class Check:
    """See the module.

    Args:
        options: see `Options`.
        folder: for everything that is made on the way.
        say: called with a line of progress.
        runner: runs steps; replaced in tests.
    """

    def __init__(
        self,
        options: Options,
        folder: Path,
        say: Callable[[str], None],
        runner: Runner | None = None,
    ) -> None:
        self.findings, self._options, self._folder, self._say = Findings(), options, folder, say
        self._runner = runner or Runner(folder, say)
        self._budget = Budget(options.budget_s)
        self._parity_sizes = QUICK_PARITY if options.quick else PARITY_SIZES
        self._latency_sizes = QUICK_LATENCY if options.quick else LATENCY_SIZES
        self._width = max(1, min(4, (os.cpu_count() or 1) // 2))
        self._references = str(folder / "references.npz")

    def run(self) -> None:
        """Everything; `findings` is what came of it, also where this is interrupted."""
        peers = self._chosen(self._peers())
        compiled = [engine for engine in peers if engine.backend == COMPILED]
        engines = self._chosen(ours(self._options.device, self._folder))
        if self._options.quick:
            tuned = [e for e in engines if e.export in {one.name for one in exports() if one.tunes}]
            for engine in compiled + tuned:
                self.findings.skip(engine.name, "--quick leaves out what is tuned on the GPU")
            compiled, engines = [], [engine for engine in engines if engine not in tuned]
        engines = self._export(engines, compiled)
        others = [engine for engine in peers if engine.backend != COMPILED]
        passed = self._prove(engines + others, compiled)
        if self._options.sanitize:
            self._sanitize(passed)
        self._time(passed)

    def _chosen(self, engines: list[Engine]) -> list[Engine]:
        only = self._options.only
        return [e for e in engines if not only or any(part in e.name for part in only)]

    def _peers(self) -> list[Engine]:
        try:
            from benchmarks.gpu_check import peers
        except ImportError as error:
            self.findings.skip("peers", f"PyTorch cannot be imported ({error})")
            return []
        return peers.peers(self._options.device, self._latency_sizes)

    def _export(self, engines: list[Engine], compiled: list[Engine]) -> list[Engine]:
        """Make the artifacts, and the references meanwhile; returns who has its artifact.

        What tunes itself on the GPU comes afterwards, alone: first the rivals, among them those
        that compile and check parity in one step, each for an equal share of the time that is left.
        """
        wanted = {engine.export for engine in engines}
        steps = [self._export_step(one) for one in exports() if one.name in wanted]
        probe = Step("probe", "probe", {"device": self._options.device})
        shared = [self._reference_step(), probe, *(step for step in steps if not step.alone)]
        outcomes = self._runner.run(shared, self._budget.left(EXPORTED), self._width)
        unavailable = outcomes.pop("probe").result.get("unavailable", {})
        references = outcomes.pop("references")
        if references.reason:
            self.findings.skip("parity of everything", f"no references: {references.reason}")
        self._keep_exports(outcomes)
        own = [step for step in steps if step.alone]
        for step in own:
            if step.arguments["format"] in unavailable:
                outcomes[step.name] = Outcome(reason=unavailable[step.arguments["format"]])
        alone = [step for step in own if step.name not in outcomes]
        rivals = [step for step in alone if step.arguments["format"] in RIVALS]
        outcomes |= self._runner.run(rivals, self._budget.left(EXPORTED), 1)
        share = self._budget.left(EXPORTED) / max(1, len(compiled))
        rest = [self._parity_step(engine, share) for engine in compiled]
        rest += [step for step in alone if step not in rivals]
        outcomes |= self._runner.run(rest, self._budget.left(EXPORTED), 1)
        for engine in compiled:
            self.findings.parity[engine.name] = outcomes.pop(engine.name)
        self._keep_exports({step.name: outcomes[step.name] for step in own})
        return [e for e in engines if e.export and not outcomes[e.export].reason]

    def _keep_exports(self, outcomes: dict[str, Outcome]) -> None:
        self.findings.exports |= outcomes
        for name, outcome in outcomes.items():
            if outcome.reason:
                self.findings.skip(name, outcome.reason)

    def _reference_step(self) -> Step:
        sizes = sorted({*self._parity_sizes, *self._latency_sizes})
        arguments = {"sizes": sizes, "path": self._references}
        return Step("references", "references", arguments, 150.0)

    def _export_step(self, one: Export) -> Step:
        arguments = {
            "format": one.format, "precision": one.precision, "device": self._options.device,
            "folder": str(self._folder / one.folder), "options": one.options,
        }  # fmt: skip
        return Step(one.name, "export", arguments, 180.0 if one.tunes else 90.0, alone=one.tunes)

    def _prove(self, engines: list[Engine], compiled: list[Engine]) -> list[Engine]:
        """Check parity; returns who passed, and at which sizes where those are not any."""
        if not Path(self._references).exists():
            return []
        steps = [self._parity_step(engine) for engine in engines]
        outcomes = self._runner.run(steps, self._budget.left(PROVEN), self._width)
        self.findings.parity |= outcomes
        passed = []
        for engine in engines + compiled:
            outcome = self.findings.parity[engine.name]
            ok = outcome.result.get("ok", False)
            for reason in filter(None, [outcome.reason, *outcome.result.get("skipped", [])]):
                self.findings.skip(f"parity of {engine.name}", reason)
            if ok and engine in compiled:  # as far as it got: each size is compiled by itself
                sizes = {row["batch_size"] for row in outcome.result["comparisons"]}
                passed.append(replace(engine, sizes=tuple(sorted(sizes))))
            elif ok and not outcome.reason:
                passed.append(engine)
        return passed

    def _parity_step(self, engine: Engine, seconds: float = 60.0) -> Step:
        compiled = engine.backend == COMPILED
        arguments = {
            "engine": engine.as_arguments(), "references": self._references,
            "sizes": self._latency_sizes if compiled else self._parity_sizes,
        }  # fmt: skip
        return Step(engine.name, "parity", arguments, seconds, alone=compiled)

    def _time(self, engines: list[Engine]) -> None:
        """Latency; where the process dies, again without whoever was at work."""
        sizes, doing = list(self._latency_sizes), self._folder / "doing"
        for _ in range(ATTEMPTS):
            left = self._budget.left(TIMED)
            if not engines or not sizes or left < 5:
                break
            step = self._latency_step(engines, sizes, doing, left)
            try:
                outcome = self._runner.run([step], left + 10, 1)["latency"]
            except KeyboardInterrupt:
                self.findings.latency += filter(None, [self._runner.written(step)])
                raise
            if outcome.result:
                self.findings.latency.append(outcome.result)
            if not outcome.reason:
                return
            culprit = doing.read_text() if doing.exists() else ""
            self.findings.skip(f"latency, during {culprit or 'preparation'}", outcome.reason)
            done = {row["batch_size"] for row in outcome.result.get("results", [])}
            sizes = [size for size in sizes if size not in done]
            engines = [engine for engine in engines if engine.name != culprit]
        for size in sizes:
            self.findings.skip(f"latency at batch {size}", "no engine, or no time, was left for it")

    def _latency_step(
        self, engines: list[Engine], sizes: list[int], doing: Path, seconds: float
    ) -> Step:
        arguments = {
            "engines": [engine.as_arguments() for engine in engines], "sizes": sizes,
            "device": self._options.device, "doing": str(doing), "quick": self._options.quick,
            # The last batch size may be a little over its time.
            "seconds": max(1.0, seconds - 10),
        }  # fmt: skip
        return Step("latency", "latency", arguments, seconds + 10, alone=True)

    def _sanitize(self, passed: list[Engine]) -> None:
        tool = shutil.which("compute-sanitizer")
        chosen = [engine for engine in passed if engine.backend == OURS]
        if tool is None or not chosen:
            reason = f"{OURS} did not pass" if tool else "compute-sanitizer is not on PATH"
            self.findings.skip("sanitizer", reason)
            return
        for engine in chosen:
            for kind in ("memcheck", "racecheck"):
                self._sanitize_one(tool, kind, engine)

    def _sanitize_one(self, tool: str, kind: str, engine: Engine) -> None:
        step = self._parity_step(engine)
        wrapper = [tool, "--tool", kind, "--error-exitcode", "9"]
        arguments = step.arguments | {"sizes": QUICK_PARITY, "wrapper": wrapper}
        step = Step(f"{kind} {engine.name}", "parity", arguments, 60.0, alone=True)
        outcome = self._runner.run([step], self._budget.left(0.8), 1)[step.name]
        late = "skipped" in outcome.reason or "ended after" in outcome.reason
        self.findings.sanitizer.append(
            {
                "tool": kind,
                "engine": engine.name,
                "ok": None if late else not outcome.reason,
                "reason": outcome.reason,
            }
        )
