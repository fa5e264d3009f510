"""One job in a process of its own: ``python -m benchmarks.gpu_check.worker KIND ARGUMENTS.json``.

It writes its result, JSON, to the path ``out`` of its arguments, as soon as there is a part of it.
A failure ends it with the reason as its last line. A plain checkout has no `typer`, so a job calls
what a public command calls, not the command.
"""

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu_check import proving, timing
from benchmarks.gpu_check.jobs import tidy
from benchmarks.gpu_check.participants import formats
from lenet_export.formats import FORMATS
from lenet_runtime.artifact.files import write_atomically
from lenet_runtime.backends import choose
from lenet_runtime.errors import BackendUnavailable

Write = Callable[[dict[str, Any]], None]


def export(arguments: dict[str, Any], write: Write) -> None:
    """Export the bundled network in one format and precision, proven on the GPU."""
    import lenet_export
    from lenet_deploy.training.checkpoint import load_checkpoint

    artifact = lenet_export.export(
        load_checkpoint(), arguments["format"], arguments["folder"],
        precision=arguments["precision"], device=arguments["device"], progress=print,
        **arguments["options"],
    )  # fmt: skip
    write({"digest": artifact.digest, "kernels": artifact.manifest.kernels})


def probe(arguments: dict[str, Any], write: Write) -> None:
    """Formats that nothing here runs or builds, each with the reason."""
    unavailable = {}
    for name in formats():
        try:
            choose(name, "auto", arguments["device"])
            FORMATS[name].require()
        except (BackendUnavailable, ImportError) as error:
            unavailable[name] = tidy(str(error))
    write({"unavailable": unavailable})


KINDS: dict[str, Callable[[dict[str, Any], Write], None]] = {
    "references": proving.references,
    "probe": probe,
    "export": export,
    "parity": proving.parity,
    "latency": timing.latency,
}


def main() -> int:
    """Run the job of the command line; returns the exit code."""
    kind, path = sys.argv[1:]
    arguments = json.loads(Path(path).read_text())

    def write(result: dict[str, Any]) -> None:
        document = json.dumps(result, allow_nan=False)
        write_atomically(Path(arguments["out"]), document.encode())

    try:
        KINDS[kind](arguments, write)
    except Exception as error:  # engines raise anything; it is a line of the record
        traceback.print_exc()
        print(f"{type(error).__name__}: {tidy(str(error))}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
