"""Loads that are disturbed: by signals, replaced folders, many threads and mutated files."""

import gc
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from artifact_files import (
    NAMES,
    edit_manifest,
    golden_bytes,
    mutated,
    open_descriptors,
    read_all,
    replace_file,
    write_artifact,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import first_ten, noise

import lenet_runtime
from lenet_runtime.artifact import Artifact, Manifest, files
from lenet_runtime.errors import ArtifactError, DeployError


class Interrupted(BaseException):
    """What the signal's handler raises, wherever the interpreter is."""


def test_a_handler_that_raises_leaks_no_descriptor(folder):
    """Between opening a file and noting its descriptor there must be no step for a handler."""

    def handler(*_):
        raise Interrupted

    gc.collect()  # what earlier tests left is not ours
    before, interrupted = open_descriptors(), 0
    previous = signal.signal(signal.SIGALRM, handler)
    try:
        start = time.perf_counter()
        Artifact.open(folder)
        once = time.perf_counter() - start
        for turn in range(1500):
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 1e-6 + once * (turn % 100) / 100)
                    Artifact.open(folder)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert interrupted > 100
    gc.collect()  # a traceback in a cycle may hold a file
    assert open_descriptors() == before


def test_a_link_that_is_set_anew_while_it_is_read_is_no_error(tmp_path, monkeypatch):
    """Also where it leads to the first folder again by the time that the error is looked at."""
    for name in ("a", "b"):
        replace_file(write_artifact(tmp_path / name), "model.fake", name.encode())
    link, opened_directory, from_bytes = (
        tmp_path / "now",
        files.opened_directory,
        Manifest.from_bytes,
    )

    def lead_to(name):
        (tmp_path / "next").symlink_to(tmp_path / name)
        (tmp_path / "next").replace(link)

    def to_b_first(path):
        if (tmp_path / "b").exists():
            lead_to("b")
        return opened_directory(path)

    def back_to_a(data, where):
        lead_to("a")
        shutil.rmtree(tmp_path / "b", ignore_errors=True)
        return from_bytes(data, where)

    lead_to("a")
    monkeypatch.setattr(files, "opened_directory", to_b_first)
    monkeypatch.setattr(Manifest, "from_bytes", back_to_a)
    assert Artifact.open(link).read("model.fake") == b"a"


def test_loads_while_the_folder_is_replaced_are_whole(tmp_path):
    """Links flip, and what they led to is deleted: each load answers with one artifact's files."""
    link, stop, made = tmp_path / "current", threading.Event(), iter(range(10**6))

    def publish():
        number = next(made)
        folder = write_artifact(tmp_path / str(number))
        replace_file(folder, "model.fake", str(number).encode())
        replace_file(folder, "golden.npz", str(number).encode() * 100)
        (tmp_path / "next").symlink_to(folder)
        (tmp_path / "next").replace(link)
        if number > 1:
            shutil.rmtree(tmp_path / str(number - 2))

    def publish_on():
        while not stop.is_set():
            publish()

    publish()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(publish_on)
        try:
            for _ in range(300):
                contents = read_all(link)
                assert contents["golden.npz"] == contents["model.fake"] * 100
        finally:
            stop.set()
        done.result()


def test_many_threads_load_at_once_and_leak_nothing(folder):
    lenet_runtime.load(folder, trust=True).close()
    before, start = open_descriptors(), threading.Barrier(16)

    def load(_):
        start.wait(30)
        for _ in range(8):
            with lenet_runtime.load(folder, trust=True) as session:
                np.testing.assert_array_equal(session.run(noise(3)), first_ten(noise(3)))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(load, range(16)))
    assert open_descriptors() == before


@given(st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_mutated_file_is_a_typed_error_or_the_right_answer(folder, data):
    """Its hash is made right, as who can write the folder can: the reader must hold by itself."""
    originals = {name: (folder / name).read_bytes() for name in NAMES}
    name = data.draw(st.sampled_from(NAMES))
    before = open_descriptors()
    try:
        spoilt = data.draw(mutated(originals[name]))
        if name == "manifest.json":
            (folder / name).write_bytes(spoilt)
        else:
            replace_file(folder, name, spoilt)
        with lenet_runtime.load(folder, trust=True) as session:
            np.testing.assert_array_equal(session.run(noise(3)), first_ten(noise(3)))
    except DeployError:  # and nothing else
        pass
    finally:
        for own, content in originals.items():
            (folder / own).write_bytes(content)
    assert open_descriptors() == before


OBJECTS = {
    "nothing": lambda path: None,
    "a folder": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a terminal": lambda path: path.symlink_to("/dev/tty"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to a folder": lambda path: path.symlink_to("."),
    "a link into /proc": lambda path: path.symlink_to("/proc/self/mem"),
    "an endless file": lambda path: path.symlink_to("/proc/kmsg"),
    "a sparse file": lambda path: (path.touch(), os.truncate(path, 2**40)),
    "an empty file": Path.touch,
}


@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)
@pytest.mark.parametrize("name", NAMES)
def test_an_odd_object_in_a_files_place_is_refused_at_once(folder, name, make):
    (folder / name).unlink()
    make(folder / name)
    before = open_descriptors()
    with pytest.raises(ArtifactError, match=name):
        lenet_runtime.load(folder, trust=True)
    assert open_descriptors() == before


def test_a_load_reads_no_more_than_its_bound(folder):
    """Whatever the manifest promises; and golden images that would be run for minutes."""
    os.truncate(folder / "model.fake", 2**40)
    edit_manifest(folder, lambda d: d["files"]["model.fake"].update(size=2**40))
    with pytest.raises(ArtifactError, match=r"model\.fake: expected at most 1342\d{5} bytes"):
        lenet_runtime.load(folder, trust=True)
    replace_file(folder, "model.fake", b"ten pixels")
    replace_file(folder, "golden.npz", golden_bytes(8200))
    with pytest.raises(ArtifactError, match=r"golden\.npz: not a golden file \(more than 33554432"):
        lenet_runtime.load(folder, trust=True)
