"""Check a GPU and write the record; see `benchmarks.gpu_check`."""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gpu_check import (
    BUDGET_S,
    FAILED,
    INTERRUPTED,
    NO_GPU,
    PASSED,
    QUICK_BUDGET_S,
    RESULTS,
    record,
)
from benchmarks.gpu_check.check import Check, Options
from lenet_runtime import cuda, devices
from lenet_runtime.errors import BackendUnavailable, InputError


def main(words: list[str] | None = None) -> int:
    """Run the check; returns the exit code."""
    arguments = parser().parse_args(words)
    try:
        device = devices.parse(arguments.device)
        if device.kind != "cuda":
            raise InputError(f"--device: expected 'cuda' or 'cuda:N', found {arguments.device!r}")
        gpu = cuda.gpu(device.index)
    except InputError as error:
        say(f"error: {error}")
        return 2
    except BackendUnavailable as error:
        say(f"gpu-check needs an NVIDIA GPU, nothing was written: {error}")
        return NO_GPU
    return check(arguments, str(device), gpu)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    flags = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    flags.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    flags.add_argument("--device", default="cuda", metavar="cuda[:N]")
    flags.add_argument("--quick", action="store_true", help="small batches, a minute")
    flags.add_argument("--only", default="", metavar="TEXT,TEXT", help="engines whose name has it")
    flags.add_argument(
        "--sanitize", action="store_true", help="parity under compute-sanitizer, too"
    )
    flags.add_argument("--budget", type=float, metavar="SECONDS")
    return flags


def check(arguments: argparse.Namespace, device: str, gpu: cuda.Gpu) -> int:
    """The check itself; the record is written however it ends."""
    only = tuple(text for text in arguments.only.split(",") if text)
    budget = arguments.budget or (QUICK_BUDGET_S if arguments.quick else BUDGET_S)
    options = Options(device, only, arguments.quick, arguments.sanitize, budget)
    start = time.monotonic()
    # A machine that is taken away says so first.
    before = signal.signal(signal.SIGTERM, _as_interrupt)
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        work = Check(options, Path(folder), say)
        try:
            work.run()
        except KeyboardInterrupt:
            work.findings.interrupted = True
        finally:
            # In `finally`: a fault of ours must not cost the time on the GPU.
            document = record.document(work.findings, options, gpu, time.monotonic() - start)
            paths = record.write(document, arguments.output)
            signal.signal(signal.SIGTERM, before)
    print(paths[1].read_text(), end="")
    for path in paths:
        say(f"wrote {path}")
    if work.findings.interrupted:
        return INTERRUPTED
    for failure in document["failures"]:
        say(f"failed: {failure}")
    return FAILED if document["failures"] else PASSED


def _as_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
