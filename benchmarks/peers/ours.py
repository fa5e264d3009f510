"""Ours: sessions of `lenet_runtime`, checks of the input included, as a service calls them."""

import contextlib
import io

import lenet_export
import lenet_runtime
from benchmarks.peers.work import Peer, Work


def session(format: str, work: Work) -> Peer:
    """A session of an artifact that is exported for this run, by this version."""
    folder = work.scratch / f"ours-{format}"
    with contextlib.redirect_stdout(io.StringIO()):
        lenet_export.export(work.net, format, folder, force=True)
    return lenet_runtime.load(folder, threads=work.threads).run
