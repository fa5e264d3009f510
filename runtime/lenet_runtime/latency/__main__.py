"""``python -m lenet_runtime.latency ARTIFACT``: the benchmark where only the runtime is installed.

Plain text, no PyTorch, no command-line library; `lenet-deploy bench` has all the rest.
"""

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path

from lenet_runtime import devices, load
from lenet_runtime._files import write_atomically
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import BACKENDS, none_runs
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError
from lenet_runtime.latency.fingerprint import fingerprint
from lenet_runtime.latency.harness import INPUT_MODES, Settings, measure
from lenet_runtime.latency.report import Run, describe, engine_name
from lenet_runtime.latency.result import LatencyResult


def main(arguments: list[str] | None = None) -> int:
    """Time the artifacts of the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        run = _run(options)
        if options.json:
            document = json.dumps(run.to_dict(), allow_nan=False)
            write_atomically(options.json, f"{document}\n".encode())
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return 4 if isinstance(error, BackendUnavailable) else 1
    _print(run)
    return 130 if run.interrupted else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m lenet_runtime.latency", description=__doc__)
    parser.add_argument("artifacts", nargs="+", metavar="ARTIFACT", help="an artifact's folder")
    parser.add_argument("--batch-sizes", default="1,8,64,512", metavar="N,N...", type=_sizes)
    parser.add_argument("--device", default="cpu", metavar="cpu|cuda[:N]")
    parser.add_argument("--threads", default=1, type=int, help="CPU threads of each engine")
    parser.add_argument("--min-time", default=0.5, type=float, metavar="S")
    parser.add_argument("--min-iterations", default=50, type=int, metavar="N")
    parser.add_argument("--warmup", default=0.1, type=float, metavar="S")
    parser.add_argument("--input", default="rotating", choices=INPUT_MODES)
    parser.add_argument("--trust", action="store_true", help="allow artifacts that run code")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report")
    return parser


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    if min(sizes) < 1:
        raise ValueError(text)
    return sizes


def _run(options: argparse.Namespace) -> Run:
    settings = Settings(
        options.min_time, options.min_iterations, options.warmup, inputs=options.input
    )
    results: list[LatencyResult] = []
    interrupted, kind = False, devices.parse(options.device).kind
    where = fingerprint(options.device)
    with ExitStack() as stack:
        sessions = {}
        for path in options.artifacts:
            for name in _able(path, kind):
                session = load(path, name, options.device, options.threads, options.trust)
                key = engine_name(session)
                key = key if key not in sessions else f"{key}: {path}"
                sessions[key] = stack.enter_context(session)
        try:
            engines = {name: session.run for name, session in sessions.items()}
            measure(engines, options.batch_sizes, settings, keep=results.append)
        except KeyboardInterrupt:
            interrupted = True
    return Run(
        settings,
        where,
        tuple(results),
        {name: describe(session) for name, session in sessions.items()},
        baseline=next(iter(sessions), None),
        interrupted=interrupted,
    )


def _able(path: Path, kind: str) -> list[str]:
    """The backends that run this artifact on this kind of device.

    Raises:
        InputError: none does.
    """
    made = Artifact.open(path).manifest.format
    able = [name for name, backend in BACKENDS.items() if backend.takes(made, kind)]
    if not able:
        raise InputError(f"{path}: {none_runs(made, kind)}")
    return able


def _print(run: Run) -> None:
    lines = [
        f"{'engine':<20}{'batch':>6}{'p50 us':>12}{'p90 us':>12}{'p99 us':>12}{'images/s':>12}"
    ]
    for result in run.results:
        figures = "".join(f"{result.percentile_us(p):>12.1f}" for p in (50, 90, 99))
        rate = f"{result.images_per_second:>12,.0f}"
        lines.append(f"{result.engine:<20}{result.batch_size:>6}{figures}{rate}")
    if run.interrupted:
        lines.append("interrupted: what was measured until then")
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
