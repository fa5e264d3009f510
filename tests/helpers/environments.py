"""Commands in hostile environments, each in a fork of one process that has imported PyTorch.

`run_all` hands a list of cases to a fresh Python, which runs this file; see `ENVIRONMENTS`.
"""

import contextlib
import ctypes
import json
import os
import pwd
import resource
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

UNSUPPORTED = 77  # the exit code of a case that this machine cannot stage


def unset(*names):
    for name in names:
        os.environ.pop(name, None)


def nobody(user):
    raise KeyError(f"getpwuid(): uid not found: {user}")


def no_home():
    """As in a container with a uid of its own."""
    unset("HOME", "XDG_CACHE_HOME", "USER", "LOGNAME")
    pwd.getpwuid = nobody


def homeless():
    unset("XDG_CACHE_HOME")
    os.environ["HOME"] = "/dev/null"


def no_temporary_folder():
    os.environ["TMPDIR"] = "/proc/nowhere"
    tempfile.tempdir, tempfile._candidate_tempdir_list = None, lambda: ["/proc/nowhere"]


def closed(descriptor):
    os.close(descriptor)
    setattr(sys, ("stdin", "stdout", "stderr")[descriptor], None)


def onto(descriptor, path):
    target = os.open(path, os.O_WRONLY)
    os.dup2(target, descriptor)
    os.close(target)


def broken(descriptor):
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, descriptor)
    os.close(writer)


def limit(kind, value):
    resource.setrlimit(kind, (value, value))


def hidden(folder):
    """An empty folder lies over this one, in a namespace of the child's own; needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    private, namespace = 1 << 18 | 1 << 14, 0x20000
    for done in (
        libc.unshare(namespace),
        libc.mount(b"none", b"/", None, private, None),
        libc.mount(b"none", folder.encode(), b"tmpfs", 0, None),
    ):
        if done != 0:
            os._exit(UNSUPPORTED)


def nowhere():
    """The current folder is gone."""
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    Path(folder).rmdir()


ENVIRONMENTS = {
    "as it is": lambda: None,
    "no HOME, no passwd entry": no_home,
    "HOME is no folder": homeless,
    "cache is a file": lambda: os.environ.update(XDG_CACHE_HOME="/dev/null"),
    "no temporary folder": no_temporary_folder,
    "no bytes of a file": lambda: limit(resource.RLIMIT_FSIZE, 0),
    "64 KiB of a file": lambda: limit(resource.RLIMIT_FSIZE, 2**16),
    "no more files": lambda: limit(resource.RLIMIT_NOFILE, 3),
    "6 files": lambda: limit(resource.RLIMIT_NOFILE, 6),
    "20 files": lambda: limit(resource.RLIMIT_NOFILE, 20),
    "no /proc": lambda: hidden("/proc"),
    "no environment": os.environ.clear,
    "ASCII": lambda: os.environ.update(LC_ALL="C", PYTHONIOENCODING="ascii"),
    "no current folder": nowhere,
    "narrow": lambda: os.environ.update(COLUMNS="1"),
    "stdin closed": lambda: closed(0),
    "stdout closed": lambda: closed(1),
    "stdout full": lambda: onto(1, "/dev/full"),
    "stdout broken": lambda: broken(1),
    "stderr closed": lambda: closed(2),
    "stderr full": lambda: onto(2, "/dev/full"),
    "stderr broken": lambda: broken(2),
    "all closed": lambda: [closed(descriptor) for descriptor in (0, 1, 2)],
}


def run_all(cases):
    """Run each ``(environment, words)``; returns ``[code, stdout, stderr]`` of each."""
    done = subprocess.run(
        [sys.executable, __file__], input=json.dumps(cases), capture_output=True, text=True,
        check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def in_child(environment, words, out, error):
    os.dup2(out, 1)
    os.dup2(error, 2)
    os.closerange(3, 64)
    signal.alarm(120)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  the process's own
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["lenet-deploy", *words]
    code = 99
    try:
        ENVIRONMENTS[environment]()
        lenet_deploy.__main__.main()
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    os._exit(code)


def run_one(environment, words):
    pipes = [os.pipe() for _ in range(2)]
    child = os.fork()
    if child == 0:
        in_child(environment, words, pipes[0][1], pipes[1][1])
    texts = {}
    for reader, writer in pipes:
        os.close(writer)
        texts[reader] = b""
    open_ends = set(texts)
    while open_ends:
        for reader in select.select(list(open_ends), [], [])[0]:
            data = os.read(reader, 2**16)
            texts[reader] += data
            if not data:
                open_ends.remove(reader)
                os.close(reader)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, *(text.decode(errors="backslashreplace") for text in texts.values())


if __name__ == "__main__":
    # What `doctor` imports: 1.6 s, once and not in each of its forks.
    import onnxscript  # noqa: F401
    import torch._inductor.standalone_compile  # noqa: F401

    import lenet_deploy.__main__
    import lenet_deploy.cli
    import lenet_deploy.training.loop

    json.dump([run_one(*case) for case in json.load(sys.stdin)], sys.stdout)
