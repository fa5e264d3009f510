"""The command line's words: completion, panels, and errors in the flags of their command."""

import pytest
from processes import python
from typer.main import get_command

from lenet_deploy.cli import app
from lenet_deploy.cli.words import in_flags

MAIN = "from lenet_deploy.__main__ import main; import sys; sys.argv[0] = 'lenet-deploy'; main()"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: pass force=True to go on", "a: pass --force to go on"),
        ("static batch: expected 1, found 0", "--static-batch: expected 1, found 0"),
        ("format: expected one of onnx", "--format: expected one of onnx"),
        ('pass device="cuda" or format=onnx', "pass --device cuda or --format onnx"),
        ("check_finite=False, trust=True", "check_finite=False, trust=True"),  # no flags here
        ("module: expected a module", "module: expected a module"),
    ],
)
def test_pythons_words_become_flags(text, said):
    assert in_flags(text, get_command(app).commands["export"]) == said


@pytest.mark.parametrize(
    ("command", "flag", "values"),
    [
        ("export", "--format", {"onnx", "native", "all"}),
        ("export", "--precision", {"fp32", "int8"}),
        ("export", "--device", {"cpu", "cuda"}),
        ("export", "--library", {"tensorrt", "tensorrt-rtx"}),
        ("verify", "--backend", {"auto", "ort-cpu"}),
        ("bench", "--input", {"rotating", "hot", "cold"}),
        ("export", "--checkpoint", set()),  # the shell completes paths
    ],
)
def test_flags_complete_to_their_values(command, flag, values):
    bash = {
        "_LENET_DEPLOY_COMPLETE": "complete_bash",
        "COMP_WORDS": f"lenet-deploy {command} {flag} ",
        "COMP_CWORD": "3",
    }
    found = set(python(MAIN, **bash).stdout.split())
    assert values <= found
    assert bool(values) == bool(found)
    if flag == "--format":
        zsh = {
            "_LENET_DEPLOY_COMPLETE": "complete_zsh",
            "_TYPER_COMPLETE_ARGS": f"lenet-deploy {command} {flag} o",
        }
        assert '"onnx"' in python(MAIN, **zsh).stdout
