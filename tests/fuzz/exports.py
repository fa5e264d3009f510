"""Exports that are killed: afterwards the old artifact or the new one is there, never neither."""

import contextlib
import os
import shutil
import signal
import time

from samples import snapshot

import lenet_export
from lenet_deploy.training.checkpoint import load_checkpoint
from lenet_export import publish
from tests.fuzz.artifacts import Reference, loaded

WHOLE_EXPORTS = 0.1  # of all cases; they take seconds, where publishing takes milliseconds


@contextlib.contextmanager
def kills(artifacts, scratch):
    """SIGKILL at a random moment of an export onto an artifact, or to where none was."""
    net, reference = load_checkpoint(), Reference(artifacts / "native")
    sources = [artifacts / "native", scratch / "other"]
    shutil.copytree(artifacts / "onnx", sources[1])
    contents = [snapshot(source) for source in sources]
    site = scratch / "site"
    target = site / "a"

    def publish_all():
        """Without end, one after the other."""
        while True:
            for files in contents:
                with publish.staging(target) as folder:
                    publish.write_files(folder, files)
                    publish.publish(folder, target, True)

    def case(draw):
        whole, there = draw.random() < WHOLE_EXPORTS, draw.random() < 0.8
        seconds = draw.random() * draw.choice([0.3, 1.5, 5] if whole else [0.001, 0.01, 0.05])
        draw.note(f"{'export' if whole else 'publish'} killed after {seconds * 1e3:.2f} ms")
        shutil.rmtree(site, ignore_errors=True)
        site.mkdir()
        if there:
            shutil.copytree(sources[0], target)
        child = os.fork()
        if not child:
            try:
                if whole:
                    lenet_export.export(net, "native", target, force=True)
                else:
                    publish_all()
            finally:
                os._exit(0)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        word = "whole" if target.exists() else "none"
        if target.exists():
            # A whole export's manifest may name other tools, but it is an artifact of its own.
            assert snapshot(target) in contents or whole, "half an artifact"
            with loaded(target, trust=True) as session:
                reference.require(session)
        else:
            assert not there, "the old artifact is gone, and the new one is not there"
        with publish.staging(target) as folder:
            publish.write_files(folder, contents[0])
            publish.publish(folder, target, True)
        left = sorted(path.name for path in site.iterdir())
        assert left == ["a"], f"the next export leaves {left}"
        return word

    yield case
