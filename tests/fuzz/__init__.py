"""Campaigns of random cases, each with an oracle: a typed error or a right answer, never else.

    make fuzz FUZZ="--seconds 600 --only manifests,pictures"
    python -m tests.fuzz --only manifests --seed 7 --case 4711     # one case again

A campaign is a context manager that yields a function of one `Draw`. The function builds a case
from it, tries it, and returns a word for the tally ("right"). `DeployError` counts as "refused".
Whatever else leaves it is a finding, and so is a case that kills the process, hangs, takes more
processor time or memory than its campaign allows, leaves a descriptor open, or ends in a message
that is overlong or cannot be written. Each campaign runs in a process of its own (`worker`).
"""

import importlib
import random
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in ("export", "runtime", "benchmarks", "serving", "tests/helpers", "tests/fakes"):
    sys.path.append(str(ROOT / folder))


class Draw(random.Random):
    """The random choices of one case; equal seeds, campaigns and numbers choose alike."""

    def __init__(self, campaign: str, seed: int, case: int, note: Callable[[str], None]) -> None:
        super().__init__(f"{campaign}-{seed}-{case}")
        self.note = note  # says what the case is; shown if it fails

    def few(self) -> int:
        """1 most often, 2 half as often and so on, so that most failing cases are small."""
        count = 1
        while self.random() < 0.5:
            count += 1
        return count


Case = Callable[[Draw], str]


@dataclass(frozen=True)
class Campaign:
    """Where a campaign is, and what one of its cases may take.

    Attributes:
        module: The file in this folder; the function in it has the campaign's name.
        cpu_seconds: Processor time of a case in the campaign's own process.
        mebibytes: Memory of a case beyond what the process had before it.
        hang_seconds: Time after which a case hangs; these machines are shared.
    """

    module: str
    cpu_seconds: float = 2.0
    mebibytes: float = 200.0
    hang_seconds: float = 60.0

    def start(self, name: str, artifacts: Path, scratch: Path) -> AbstractContextManager[Case]:
        """Set the campaign up; `artifacts` holds exported ones, `scratch` is its own."""
        function = getattr(importlib.import_module(f"tests.fuzz.{self.module}"), name)
        context: AbstractContextManager[Case] = function(artifacts, scratch)
        return context


CAMPAIGNS = {
    "manifests": Campaign("artifacts"),
    "golden": Campaign("artifacts"),
    "models": Campaign("artifacts"),
    "graphs": Campaign("onnx_models"),
    "objects": Campaign("objects"),
    "replacement": Campaign("loads"),
    "repeats": Campaign("loads"),
    "threads": Campaign("loads", cpu_seconds=20),
    "interrupts": Campaign("loads"),
    "arrays": Campaign("inputs"),
    "pictures": Campaign("inputs", mebibytes=300),
    "checkpoints": Campaign("checkpoints"),
    "kills": Campaign("exports", cpu_seconds=10),
    "builds": Campaign("native", cpu_seconds=20, mebibytes=1000),
    "networks": Campaign("native", cpu_seconds=20, mebibytes=1000),
    "rounding": Campaign("native", cpu_seconds=20, mebibytes=1000),
    "commands": Campaign("commands", hang_seconds=180),
    "rest": Campaign("serving", cpu_seconds=5),
    "grpc": Campaign("serving", cpu_seconds=5),
    "http": Campaign("serving", cpu_seconds=5),
}
