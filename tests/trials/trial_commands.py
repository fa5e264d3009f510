"""The command line in hostile environments and with closed streams.

Every case ends in an answer or in one error with its true cause, and never in a traceback.
"""

import json

from environments import ENVIRONMENTS, UNSUPPORTED, run_all

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
