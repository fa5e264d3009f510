"""The walls between the layers: who may import what, and what stays out of a fresh process."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import lenet_deploy
import lenet_export
import lenet_runtime

ENGINES = {"onnx", "onnxruntime", "onnxscript", "tensorrt", "tensorrt_rtx", "torch", "torchvision"}
HEAVY = ENGINES | {"matplotlib", "PIL", "safetensors", "scipy"}
PACKAGES = (lenet_deploy, lenet_export, lenet_runtime)
FORBIDDEN = {"lenet_runtime": {"lenet_export", "lenet_deploy"}, "lenet_export": {"lenet_deploy"}}


def run_python(code):
    """What `code` prints as JSON in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def imported_by(statement):
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    return {name.partition(".")[0] for name in run_python(code)}


def sources(package):
    folder = Path(package.__file__).parent
    return [pytest.param(p, id=str(p.relative_to(folder.parent))) for p in folder.rglob("*.py")]


def imports(tree):
    """The full name of everything that is imported below `tree`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def test_the_runtime_needs_numpy_alone():
    """Nothing that is installed, but numpy: what a wheel of the runtime alone would need."""
    modules = imported_by("import lenet_runtime")
    assert not modules & (HEAVY | {"lenet_deploy", "lenet_export", "rich", "typer"})
    foreign = modules - sys.stdlib_module_names - {"__main__", "lenet_runtime", "numpy"}
    editable = {
        name for name in foreign if name.startswith(("_", "sitecustomize", "coverage", "$"))
    }
    assert foreign == editable


@pytest.mark.parametrize(
    "statement", ["import lenet_export", "from lenet_export import FORMATS", "import lenet_deploy"]
)
def test_importing_the_other_layers_brings_no_engine(statement):
    assert not imported_by(statement) & HEAVY


def test_no_help_imports_an_engine():
    """`lenet-deploy --help` and each command's, in one process: none may import what follows."""
    code = """
import contextlib, io, json, sys
import typer.main
from lenet_deploy import cli

heavy = {}
commands = sorted(typer.main.get_command(cli.app).commands)
for arguments in ([], *([command] for command in commands)):
    sys.argv = ["lenet-deploy", *arguments, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        cli.main()
    assert "Usage" in shown.getvalue(), arguments
    heavy[" ".join(sys.argv)] = sorted({n.partition(".")[0] for n in sys.modules} & set(HEAVY))
print(json.dumps(heavy))
""".replace("HEAVY", repr(sorted(HEAVY)))
    found = run_python(code)
    assert "lenet-deploy export --help" in found
    assert not any(found.values()), found


@pytest.mark.parametrize("path", sources(lenet_runtime))
def test_the_runtime_imports_none_of_the_layers_above(path):
    roots = {name.partition(".")[0] for name in imports(ast.parse(path.read_text()))}
    assert not roots & FORBIDDEN["lenet_runtime"]


@pytest.mark.parametrize("path", sources(lenet_export))
def test_the_export_layer_does_not_import_the_toolkit(path):
    roots = {name.partition(".")[0] for name in imports(ast.parse(path.read_text()))}
    assert not roots & FORBIDDEN["lenet_export"]


@pytest.mark.parametrize("path", sources(lenet_runtime))
def test_only_backends_import_engines(path):
    """An engine is imported inside the one file that needs it."""
    roots = {name.partition(".")[0] for name in imports(ast.parse(path.read_text()))}
    assert not roots & ENGINES or path.parent.name == "backends"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_the_package_is_typed(package):
    assert (Path(package.__file__).parent / "py.typed").is_file()
