"""Odd command lines in odd environments: a documented exit code, never a traceback."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading

from samples import raw_digits

PROGRAM = "import sys; from lenet_deploy.__main__ import main; sys.argv[0] = 'lenet-deploy'; main()"
EXITS = {0, 1, 2, 3, 4, 5, 130}
SECONDS = 150
# What each command may take. Words in capitals stand for one of several paths or values.
COMMANDS = {
    "predict": [
        "PNG", "FILE", "DIR", "VALUE", "--artifact ART", "--digits 2", "--digits VALUE", "--json",
        "--trust", "--backend VALUE", "--device VALUE", "--threads VALUE",
    ],
    "inspect": ["ART", "FILE", "DIR", "VALUE", "--json"],
    "verify": [
        "ART", "FILE", "--trust", "--data-dir DIR", "--batch-sizes VALUE", "--json",
        "--device VALUE", "--threads VALUE", "--html FILE",
    ],
    "bench": [
        "ART", "--min-time VALUE", "--min-iterations 1", "--warmup 0", "--batch-sizes VALUE",
        "--json -", "--json FILE", "--csv FILE", "--baseline FILE", "--fail-above VALUE", "--trust",
        "--threads VALUE", "--backend VALUE", "--device VALUE", "--html FILE",
    ],
    "tune": ["DIR", "--batch-sizes VALUE", "--device VALUE", "--trust", "--threads VALUE"],
    "doctor": ["--json", "VALUE"],
    "evaluate": ["--checkpoint FILE", "--data-dir DIR", "--json", "--html FILE"],
    "train": ["--epochs x", "--device mps", "--help", "VALUE", "--seed VALUE"],
    "export": [
        "--format VALUE", "--precision VALUE", "--device VALUE", "--static-batch VALUE",
        "--checkpoint FILE", "--batch-sizes VALUE", "--opset VALUE", "--isa VALUE",
    ],
    "": ["--version", "--help", "-h", "nothing"],
}  # fmt: skip
# What each begins with, lest it takes minutes: to export every format, to time, to train.
QUICK = {
    "bench": "ART --min-time 0.01 --min-iterations 1 --warmup 0 --batch-sizes 1",
    "tune": "DIR --batch-sizes 1",
    "train": "--epochs 0",
    "predict": "--artifact ART",
}
VALUES = [
    "", "0", "-1", "1", "2", "1,2", "1,,2", "9" * 30, "1e9", "nan", "x", "cpu", "cuda", "cuda:99",
    "mps", "onnx", "native", "ort-cpu", "auto", "fp32", "int8", "all", "--", "\u00e9\u4e2d",
    "\udcff", "a\nb", "\x1b[31m", "10%", "-5%", "x" * 5000,
]  # fmt: skip
ENVIRONMENTS = {
    "HOME": [None, "", "/proc/nowhere", "/dev/null", "/proc"],
    "TMPDIR": ["/nowhere", "/proc"],
    "XDG_CACHE_HOME": ["/proc/nowhere", "relative", "/dev/null", ""],
    "LC_ALL": ["C", "POSIX", "xx_YY.UTF-8"],
    "PYTHONIOENCODING": ["ascii", "latin-1", "utf-8:strict"],
    "PYTHONUTF8": ["0"],
    "COLUMNS": ["1", "0", "-5", "x", "100000"],
    "TERM": ["dumb", "", None],
    "NO_COLOR": ["1"],
    "FORCE_COLOR": ["1"],
    "OMP_NUM_THREADS": ["0", "-1", "x", "4,2"],
    "PATH": ["", "/nowhere"],
    "LENET_DEPLOY_DATA_DIR": ["/proc/nowhere", "", "/dev/null"],
    "CUDA_VISIBLE_DEVICES": ["", "x", "-1"],
    "PYTHONWARNINGS": ["error::DeprecationWarning"],
}
REDIRECTED = {"closed": ">&-", "full": ">/dev/full"}
STREAMS = ["pipe", "pipe", "pipe", "closed", "full", "broken", "terminal"]


@contextlib.contextmanager
def commands(artifacts, scratch):
    """One command line in one environment, in a process of its own."""
    from PIL import Image

    digit = scratch / "digit.png"
    Image.fromarray(raw_digits(1)[0]).save(digit)
    cache = scratch / "cache"
    home = scratch / "home"
    home.mkdir()
    usual = os.environ | {"XDG_CACHE_HOME": str(cache), "HOME": str(home), "COLUMNS": "80"}
    paths = {
        "ART": [artifacts / "onnx", artifacts / "native", artifacts],
        "PNG": [digit],
        "DIR": [artifacts, scratch / "none", home],
        "FILE": [scratch / "file", "/proc/nowhere", artifacts],
    }

    def case(draw):
        command = draw.choice([name for name in COMMANDS if name])
        words = [command] if draw.random() < 0.97 else []
        options = COMMANDS[command if words else ""]
        chosen = draw.sample(options, min(len(options), draw.choice([0, 1, 1, 2, 2])))
        for option in [QUICK.get(command, "") if words else "", *chosen]:
            parts = option.replace("VALUE", "\0").split()
            parts = [draw.choice(VALUES) if part == "\0" else part for part in parts]
            words += [str(draw.choice(paths[part])) if part in paths else part for part in parts]
        if draw.random() < 0.1:
            words.insert(draw.randrange(len(words) + 1), draw.choice(VALUES))
        environment, changes = dict(usual), {}
        for name in draw.sample(sorted(ENVIRONMENTS), draw.choice([0, 0, 1, 1, 2])):
            changes[name] = value = draw.choice(ENVIRONMENTS[name])
            environment.pop(name, None)
            if value is not None:
                environment[name] = value
        stream, files = draw.choice(STREAMS), draw.choice([0, 0, 0, 0, 24])
        draw.note(f"{[w[:50] for w in words]} {changes} stdout={stream} files={files}")
        code, error = outcome(words, environment, stream, files, scratch)
        assert code is not None, f"took more than {SECONDS} s"
        assert code in EXITS, f"ended with {code}: {error[-300:]}"
        assert "Traceback" not in error, error[-500:]
        assert code == 0 or stream != "pipe" or error, "failed without a word"
        shutil.rmtree(scratch / "relative", ignore_errors=True)
        return f"exit {code}"

    yield case


def drain(terminal):
    """Read what a terminal shows, so that the program never waits for it."""
    with contextlib.suppress(OSError):  # once all who write are gone
        while os.read(terminal, 4096):
            pass


def outcome(words, environment, stream, files, folder):
    """The exit code and stderr of the program; None for a code that did not come."""
    limit = f"ulimit -n {files};" if files else ""
    script = f'{limit} exec "$@" {REDIRECTED.get(stream, "")}'
    command = ["/bin/sh", "-c", script, "sh", sys.executable, "-c", PROGRAM, *words]
    with contextlib.ExitStack() as stack:
        out = subprocess.PIPE
        if stream in ("broken", "terminal"):
            reader, out = os.pipe() if stream == "broken" else os.openpty()
            stack.callback(os.close, out)
            if stream == "broken":
                os.close(reader)
            else:
                stack.callback(os.close, reader)
                threading.Thread(target=drain, args=(reader,), daemon=True).start()
        process = stack.enter_context(
            subprocess.Popen(
                command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.PIPE, start_new_session=True,
            )
        )  # fmt: skip
        try:
            _, error = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, ""
    return process.returncode, error.decode(errors="replace")
