"""Loads of whole artifacts: while they are replaced, again and again, at once, interrupted."""

import contextlib
import dataclasses
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from processes import started

from lenet_runtime.artifact import Artifact
from lenet_runtime.errors import DeployError
from tests.fuzz.artifacts import Reference, copied, loaded

REPLACER = """
import sys
from pathlib import Path
from lenet_export import publish

target, *sources = map(Path, sys.argv[1:])
contents = [{p.name: p.read_bytes() for p in source.iterdir()} for source in sources]
while True:
    for files in contents:
        with publish.staging(target) as folder:
            publish.write_files(folder, files)
            publish.publish(folder, target, True)
        print(flush=True)
"""
MOST_GROWTH = 30  # MiB that a process may grow by, over loads without end
AT_FIRST = 30  # loads, in which pools of memory are filled


@contextlib.contextmanager
def replacement(artifacts, scratch):
    """Loads while an export with --force replaces the folder without pause: the old or the new."""
    folder, reference, _ = copied(artifacts, scratch)
    other = shutil.copytree(folder, scratch / "other")
    manifest = dataclasses.replace(Artifact.open(other).manifest, tools={"made by": "another"})
    (other / "manifest.json").write_bytes(manifest.to_bytes())
    known = {Artifact.open(path).digest for path in (folder, other)}
    with started(REPLACER, folder, artifacts / "onnx", other) as replacer:
        replacer.stdout.readline()  # it has begun

        def case(draw):
            time.sleep(draw.random() * 0.003)
            assert replacer.poll() is None, "the process that replaces it has ended"
            try:
                with loaded(folder) as session:
                    reference.require(session)
                    assert session.artifact.digest in known, "neither of both"
            except DeployError as error:
                raise AssertionError(f"refused, though one is there always: {error}") from error
            finally:
                os.read(replacer.stdout.fileno(), 1 << 16)  # or the pipe fills up
            return "right"

        yield case


@contextlib.contextmanager
def repeats(artifacts, scratch):
    """The same loads over and over: no thread and no memory is left behind."""
    names = ("onnx", "native")
    references = {name: Reference(artifacts / name) for name in names}
    history = []

    def case(draw):
        name = draw.choice(names)
        before = threading.active_count()
        with loaded(artifacts / name, trust=True) as session:
            references[name].require(session, pictures=True)
        assert threading.active_count() == before, "left a thread"
        history.append(resident())
        if len(history) > AT_FIRST:
            growth = history[-1] - history[AT_FIRST - 1]
            assert growth < MOST_GROWTH, f"grew by {growth:.0f} MiB in {len(history)} loads"
        return "right"

    yield case


def resident():
    """Memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextlib.contextmanager
def threads(artifacts, scratch):
    """Many threads load, run and close at once."""
    names = ("onnx", "native")
    references = {name: Reference(artifacts / name) for name in names}

    def case(draw):
        chosen = [draw.choice(names) for _ in range(draw.choice([2, 4, 16, 64]))]
        draw.note(f"{len(chosen)} threads")
        faults, ready = [], threading.Barrier(len(chosen))

        def work(name):
            try:
                ready.wait(60)
                with loaded(artifacts / name, trust=True) as session:
                    references[name].require(session, pictures=True)
            except BaseException as error:
                faults.append(error)

        workers = [threading.Thread(target=work, args=(name,)) for name in chosen]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not faults, f"{len(faults)} threads failed: {faults[0]!r}"
        return "right"

    yield case


class Interrupted(BaseException):
    """What a signal's handler raises."""


@contextlib.contextmanager
def interrupts(artifacts, scratch):
    """A signal's handler raises at a random moment of a load or a run; the next one is right."""
    names = ("onnx", "native")
    references = {name: Reference(artifacts / name) for name in names}
    armed = False

    def interrupt(number, frame):
        if armed:
            raise Interrupted

    signal.signal(signal.SIGALRM, interrupt)

    def attempt(name, seconds):
        nonlocal armed
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, seconds)
            with loaded(artifacts / name, trust=True) as session:
                for _ in range(20):
                    session.run(references[name].images)
        finally:
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def case(draw):
        name, word = draw.choice(names), "right"
        seconds = 1e-6 + draw.random() * draw.choice([0.0005, 0.005, 0.02])
        draw.note(f"{name} after {seconds * 1e6:.0f} us")
        try:
            attempt(name, seconds)
        except Interrupted:
            word = "interrupted"
        except DeployError as error:
            raise AssertionError(f"the handler's exception became {error!r}") from error
        if draw.random() < 0.05:
            with loaded(artifacts / name, trust=True) as session:
                references[name].require(session)
        return word

    sys.unraisablehook = lambda unraisable: None  # of those that come while something is closed
    for name in names:  # an engine whose import is interrupted stays broken, as Python has it
        attempt(name, 0)
    yield case
