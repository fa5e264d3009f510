"""The command line as a process: hostile environments, closed streams, and Ctrl-C at any moment.

Every case ends in an answer or in one error with its true cause, and never in a traceback.
"""

import json

import pytest
from environments import ENVIRONMENTS, UNSUPPORTED, run_all
from processes import python

NO_MNIST = ("error: /proc/nowhere: expected MNIST here", 1)
CLOSED = ("error: standard output is closed, where results go", 1)
FULL = ("error: standard output: No space left on device", 1)
OK = ("", 0)
# What a command that prints ends with, where it is not as it should.
ENDS = {
    "stdout closed": CLOSED,
    "all closed": ("", 1),
    "stdout full": FULL,
    "stdout broken": ("", 1),
}
START = {"no more files": ("error: lenet-deploy cannot start: Too many open files", 1)}
FEW = {"6 files": ("", None), "no /proc": ("", None)}
# The artifact that the package ships needs no place to keep anything.
NOWHERE = ("no HOME, no passwd entry", "HOME is no folder", "cache is a file")
# What `doctor` lists as a fault; it never fails.
FAULTS = {
    "as it is": "",
    "no HOME, no passwd entry": "HOME is not set, and user ",
    "HOME is no folder": "expected a folder of caches that can be written to",
    "cache is a file": "/dev/null: expected a folder of caches",
    "no temporary folder": "no temporary file can be written",
    "no bytes of a file": "the limit of bytes of a file (ulimit -f) is 0",
    "20 files": "the limit of open files (ulimit -n) is 20",
    "no /proc": "/proc is not mounted",
    "no current folder": "",
}


def expectations(artifact):
    """Each case, with a part of its last words and its exit code."""
    predict = ["predict", "--digits", "1", "--artifact", artifact, "--trust"]
    small = dict.fromkeys(("no bytes of a file", "64 KiB of a file"), ("", None))
    refused = START | {"stdout closed": CLOSED}
    for words, usual, unusual in (
        (["--help"], OK, ENDS | START),
        (["inspect", artifact], OK, ENDS | START | FEW),
        (predict, OK, ENDS | START | FEW | small),
        (["evaluate", "--data-dir", "/proc/nowhere"], NO_MNIST, refused),
    ):
        for environment in ENVIRONMENTS:
            text, code = unusual.get(environment, usual)
            is_told = not environment.startswith(("stderr", "all"))
            yield environment, words, text if is_told else "", code
    for environment in NOWHERE:
        yield environment, ["predict", "--digits", "1"], *OK


def test_no_environment_makes_a_traceback_and_doctor_names_each_fault(exported):
    artifact = str(exported("native").path)
    cases = list(expectations(artifact))
    doctor = [(environment, ["doctor", "--json"]) for environment in FAULTS]
    results = run_all([case[:2] for case in cases] + doctor)
    assert len(results) > 100
    for (environment, words, text, expected), (code, _, error) in zip(cases, results, strict=False):
        case = f"{environment}: {' '.join(words)}: {code} {error}"
        if code == UNSUPPORTED:
            continue
        assert code in ((0, 1, 2, 4) if expected is None else (expected,)), case
        assert text in error, case
        assert "Traceback" not in error, case
        assert code == 0 or not error or error.splitlines()[-1].startswith("error: "), case
    for (environment, _), (code, out, error) in zip(doctor, results[len(cases) :], strict=True):
        if code != UNSUPPORTED:
            assert code == 0, f"{environment}: {error}"
            faults = " ".join(json.loads(out)["faults"])
            assert FAULTS[environment] in faults, f"{environment}: {faults}"
            assert FAULTS[environment] or not faults, f"{environment}: {faults}"


# Ctrl-C comes while a module, the first argument, is imported.
INTERRUPTED = """
import os, signal, sys

class Finder:
    module = sys.argv.pop(1)
    def find_spec(self, name, path, target=None):
        if name == self.module:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Finder())
from lenet_deploy.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("lenet_deploy.cli", ["--version"]),
        ("typer", ["--version"]),
        ("numpy", ["--help"]),
        ("numpy.linalg", ["--help"]),
        ("lenet_runtime.formats", ["doctor"]),
        ("rich.table", ["doctor"]),
        ("lenet_deploy.cli.verify", ["doctor"]),
        ("onnxruntime", ["doctor"]),
        ("torch", ["evaluate"]),
        ("torch.nn", ["export"]),
        ("safetensors.torch", ["train"]),
    ],
)
def test_ctrl_c_while_modules_are_imported_exits_130(module, words):
    done = python(INTERRUPTED, module, *words, exits=130)
    assert done.stderr.endswith("interrupted\n"), done.stderr
    assert "Traceback" not in done.stderr


def test_where_ctrl_c_is_ignored_it_stays_so():
    """As behind `nohup`, and in the background of a shell."""
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from lenet_deploy.__main__ import main\n"
        "sys.argv = ['lenet-deploy', '--version']\n"
        "try: main()\n"
        "finally: os.kill(os.getpid(), signal.SIGINT)"
    )
    assert "lenet-deploy" in python(code).stdout


def test_python_m_lenet_deploy_is_the_same_command():
    code = "import runpy; runpy.run_module('lenet_deploy', run_name='__main__')"
    assert python(code, "--version").stdout.startswith("lenet-deploy ")
