"""The command line as a process: Ctrl-C at any moment, never with a traceback.

tests/trials/trial_commands.py has the hostile environments.
"""

import pytest
from processes import python

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
