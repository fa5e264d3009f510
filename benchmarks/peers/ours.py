"""Our own sessions, as a service calls them, with all checks of the input."""

import contextlib
import io
from typing import Any

import lenet_export
import lenet_runtime
from benchmarks.peers.work import Peer, Work


def session(format: str, work: Work, precision: str = "fp32", **options: Any) -> Peer:
    """`Session.run` of an artifact that is exported now."""
    folder = work.scratch / "-".join(["ours", format, precision, *map(str, options.values())])
    with contextlib.redirect_stdout(io.StringIO()):
        lenet_export.export(work.net, format, folder, precision=precision, force=True, **options)
    return lenet_runtime.load(folder, threads=work.threads).run
