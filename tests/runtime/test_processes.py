"""What sessions do to processes: threads, forks, the end of the interpreter, files and sockets."""

import copy
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from every_format import ENGINES
from processes import REPOSITORY, python
from samples import noise, raw_digits

import lenet_runtime
from lenet_runtime import BACKENDS
from lenet_runtime.backends.ort import core
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeployError

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
BEGIN = """
import atexit, os, sys, threading, time
import numpy as np
import lenet_runtime

def load(threads=None):
    return lenet_runtime.load(sys.argv[1], sys.argv[2], threads=threads, trust=True)

def fork_and_wait(work):
    '''A child's exit code, of which it makes True 0; "hangs" after a minute.'''
    child = os.fork()
    if child == 0:
        sys.exit(work() is not True)
    for _ in range(6000):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    return "hangs"

def answer(session):
    '''The logits; or the error, in words.'''
    try:
        return session.run(images)
    except lenet_runtime.DeployError as error:
        return str(error)

images = np.random.default_rng(0).standard_normal((257, 1, 32, 32), np.float32)
"""


@pytest.fixture(scope="session", params=ENGINES)
def engine(request):
    """The folder of an artifact, and the backend that runs it: each on the CPU in turn."""
    kind = BACKENDS[request.param].format.replace("-", "_")
    artifact = request.getfixturevalue(f"{kind}_artifact")
    return artifact.path, request.param


# ---- threads


@linux
def test_a_session_has_as_many_threads_as_were_asked_for(engine):
    """The calling thread is one of them; by default there is no other but those of native."""
    code = """
counts = []
for threads in (1, 2, 3):  # PyTorch keeps threads, and uses as many of them as it is told
    with load(threads) as session:
        session.run(np.resize(images, (512, 1, 32, 32)))
        counts.append(len(os.listdir("/proc/self/task")))
print(counts[1] - counts[0], counts[2] - counts[0])
"""
    expected = "0 0\n" if engine[1] == "node" else "1 2\n"  # another process has its own
    assert python(BEGIN + code, *engine).stdout == expected


@linux
def test_the_default_starts_no_thread_and_answers_at_the_end(engine):
    """The end is that of the process, with what is registered by `atexit`."""
    code = """
import importlib
importlib.import_module(lenet_runtime.BACKENDS[sys.argv[2]].module)
images[:] @ np.ones((32, 32), np.float32)  # NumPy's own
before = len(os.listdir("/proc/self/task"))
session = load()
atexit.register(lambda: print(session.run(images).shape))
for size in (1, 64, 127):
    session.run(images[:size])
print(len(os.listdir("/proc/self/task")) - before)
"""
    assert python(BEGIN + code, *engine).stdout == "0\n(257, 10)\n"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"),
    ],
)
def test_openmp_is_told_to_sleep_before_pytorch_loads_it(monkeypatch, own, expected):
    """`benchmarks/overhead.py --idle` has what that saves."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    code = """
import os, sys
import lenet_runtime
sys.modules["torch"] = None
try:
    lenet_runtime.BACKENDS["torchscript"].probe("cpu")
except lenet_runtime.BackendUnavailable:
    print(os.environ.get("GOMP_SPINCOUNT"))
"""
    assert python(code, **own).stdout == f"{expected}\n"


# ---- forks


def test_a_forked_child_is_told_and_can_load_anew(engine):
    """Native goes on. What the parent has goes on as well, and the child ends."""
    code = """
session = load()
expected = session.run(images)

def child():
    found = answer(session)
    if sys.argv[2] != "native":
        assert "loaded before os.fork" in found and "load it in the worker" in found, found
        found = load().run(images)
    session.close()
    return np.array_equal(found, expected)

assert fork_and_wait(child) == 0
assert np.array_equal(session.run(images), expected)
"""
    python(BEGIN + code, *engine)


def test_a_forked_child_of_several_threads_is_told(engine):
    """PyTorch's cannot be had there again."""
    code = """
session = load(threads=2)
expected = session.run(images)

def child():
    assert sys.argv[2] == "native" or "load it in the worker" in answer(session)
    try:
        return np.array_equal(load(threads=2).run(images), expected)
    except lenet_runtime.BackendUnavailable as error:
        return sys.argv[2].startswith("torch") and "pass threads=1" in str(error)

assert fork_and_wait(child) == 0
"""
    python(BEGIN + code, *engine)


def test_a_fork_while_threads_run_does_not_hang(engine):
    """They pause while the child answers, which would wait for their cores."""
    code = """
session, running, done = load(), threading.Event(), threading.Event()
os.register_at_fork(after_in_parent=running.clear)

def work():
    while not done.is_set():
        running.wait()
        session.run(images[:9])

def fork():
    running.set()
    time.sleep(0.01)
    return fork_and_wait(child)

def child():
    found = answer(session)
    return isinstance(found, np.ndarray) == (sys.argv[2] == "native")

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
try:
    outcomes = {fork() for _ in range(3 if "torch" in sys.argv[2] else 30)}
finally:
    done.set()
    running.set()
assert outcomes == {0}, outcomes
"""
    python(BEGIN + code, *engine)


def test_a_forked_childs_session_is_refused_by_all_its_ways(fake):
    fake.after_fork()
    for call, images in ((fake.run, noise(1)), (fake.predict, raw_digits(1))):
        with pytest.raises(DeployError, match=r"before os\.fork"):
            call(images)
    fake.close()


# ---- the end


def test_a_process_ends_well_while_daemon_threads_run(engine):
    """An engine's C++ aborts the process when it comes back and finds no interpreter."""
    code = """
session = load()

def work():
    while isinstance(answer(session), np.ndarray):
        pass

for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.05)
"""
    for _ in range(2):
        assert python(BEGIN + code, *engine).stderr == ""


# ---- copies


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_is_a_session_of_its_own(engine, again):
    images = noise(3)
    options = {"threads": 1, "check_finite": False}
    with lenet_runtime.load(*engine, **options, trust=True) as session:
        copied = again(session)
        names = ("backend", "device", "threads", "check_finite", "chunk")
        assert [getattr(copied, n) for n in names] == [getattr(session, n) for n in names]
        np.testing.assert_array_equal(copied.run(images), session.run(images))
        copied.close()
        session.run(images)


def test_a_pickle_answers_in_another_process(native_artifact, tmp_path):
    with lenet_runtime.load(native_artifact.path, threads=2) as session:
        (tmp_path / "session.pickle").write_bytes(pickle.dumps(session))
        labels = session.run(noise(3)).argmax(axis=1).tolist()
    code = """
import pickle, sys
import numpy as np
images = np.random.default_rng(0).standard_normal((3, 1, 32, 32), np.float32)
with open(sys.argv[1], "rb") as file:
    print(pickle.load(file).run(images).argmax(axis=1).tolist())
"""
    assert python(code, tmp_path / "session.pickle").stdout == f"{labels}\n"


def test_a_pickle_of_what_was_changed_since_is_refused(onnx_artifact, exported, copy_of):
    folder = copy_of(onnx_artifact)
    pickled = pickle.dumps(lenet_runtime.load(folder))
    shutil.rmtree(folder)
    shutil.copytree(exported("onnx", static_batch=3).path, folder)
    with pytest.raises(ArtifactError, match="not the artifact that the session had"):
        pickle.loads(pickled)


def test_what_cannot_be_copied_says_so(fake, onnx_artifact):
    with pytest.raises(DeployError, match=r"session of a plan.*call load_plan"):
        copy.copy(fake)
    session = lenet_runtime.load(onnx_artifact.path)
    session.close()
    with pytest.raises(DeployError, match="closed"):
        pickle.dumps(session)


# ---- files and sockets


@linux
def test_an_engine_writes_no_file_and_asks_nobody(engine, tmp_path, monkeypatch):
    """By strace, in a home of its own; torch-compile unpacks in TMPDIR, and clears it up."""
    if shutil.which("strace") is None:
        pytest.skip("no strace on PATH; apt-get install strace")
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    calls = "socket,connect,sendto,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link"
    log, code = tmp_path / "log", BEGIN + "with load() as session:\n    session.run(images)"
    done = subprocess.run(
        ["strace", "-f", "-o", log, "-e", f"trace={calls}", sys.executable, "-Bc", code, *engine],
        env=os.environ | {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if "ptrace" in done.stderr:
        pytest.skip(f"strace cannot be used here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    made = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines()]
    made = [line for line in made if " = -1 " not in line]
    assert any("manifest.json" in line for line in made), "strace saw nothing"
    assert not [line for line in made if "AF_INET" in line]
    written = [line for line in made if not re.match(r"open|socket|connect|sendto|\+|-", line)]
    written += [line for line in made if re.search("O_WRONLY|O_RDWR|O_CREAT", line)]
    allowed = re.compile(rf'"(/dev/null|{re.escape(str(tmp_path / "tmp"))}/[^"]*)"')
    assert not [line for line in written if not allowed.search(line)]
    assert not [*(tmp_path / "home").iterdir(), *(tmp_path / "tmp").iterdir()]


@pytest.mark.parametrize(("own", "expected"), [(None, "1"), ("0", "0")])
def test_telemetry_is_off_before_the_import_unless_the_user_says_otherwise(
    monkeypatch, own, expected
):
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    if own is not None:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", own)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendUnavailable):
        core.import_onnxruntime()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == expected


def test_onnx_runtime_is_imported_in_one_place():
    folders = ("lenet_deploy", "export", "runtime", "benchmarks")
    paths = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]
    found = [p for p in paths if re.search(r"^\s*(import|from) onnxruntime", p.read_text(), re.M)]
    assert found == [Path(core.__file__)]
