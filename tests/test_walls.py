"""The walls of the house: who may import what, no circles, what stays out of a fresh process."""

import ast
import json
import sys
from functools import cache
from pathlib import Path

import pytest
from processes import REPOSITORY, python

import lenet_bench
import lenet_deploy
import lenet_export
import lenet_runtime
import lenet_serve

ENGINES = {"onnx", "onnxruntime", "onnxscript", "tensorrt", "tensorrt_rtx", "torch", "torchvision"}
SERVERS = {"google", "grpc", "httptools", "opentelemetry", "orjson", "ray", "uvicorn", "uvloop"}
HEAVY = ENGINES | SERVERS | {"matplotlib", "PIL", "plotly", "safetensors", "scipy"}
PACKAGES = {
    p.__name__: p
    for p in (
        lenet_deploy,
        lenet_export,
        lenet_runtime,
        lenet_bench,
        lenet_serve,
    )
}
# Each layer, and which of ours it may import.
ALLOWED = {
    "lenet_runtime": set(),
    "lenet_export": {"lenet_runtime"},
    "lenet_bench": {"lenet_runtime"},
    "lenet_serve": {"lenet_runtime"},
    "lenet_deploy": {"lenet_runtime", "lenet_export", "lenet_bench", "lenet_serve"},
    "benchmarks": PACKAGES.keys(),
}
# What is no package of the wheel, and is held to the same rules.
DRIVERS = [REPOSITORY / "benchmarks" / name for name in ("gpu_check", "peers")]


def run_python(code):
    """What `code` prints as JSON in a process of its own."""
    return json.loads(python(code).stdout.splitlines()[-1])


def imported_by(statement):
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    return {name.partition(".")[0] for name in run_python(code)}


@cache
def sources():
    """Each module of ours by its full name: its file."""
    found = {}
    folders = {name: Path(package.__file__).parent for name, package in PACKAGES.items()}
    folders |= {f"benchmarks.{folder.name}": folder for folder in DRIVERS}
    for name, folder in folders.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((name, *parts)).removesuffix(".__init__")] = path
    return found


def checking_types(node):
    """Whether this is ``if TYPE_CHECKING:``, whose imports never happen."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(tree):
    """The full names of everything that is imported below `tree`, by line."""
    for node in ast.iter_child_nodes(tree):
        if checking_types(node):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in sources() else node.module), node.lineno
        else:
            yield from imports(node)


@cache
def graph():
    """For each module of ours, everything that it imports."""
    return {
        name: {imported for imported, _ in imports(ast.parse(path.read_text()))}
        for name, path in sources().items()
    }


def root(name):
    return name.partition(".")[0]


def test_the_runtime_needs_numpy_alone():
    """Nothing that is installed, but numpy: what a wheel of the runtime alone would need."""
    modules = imported_by("import lenet_runtime")
    assert not modules & (HEAVY | (PACKAGES.keys() - {"lenet_runtime"}) | {"rich", "typer"})
    foreign = modules - sys.stdlib_module_names - {"__main__", "lenet_runtime", "numpy"}
    editable = {
        name for name in foreign if name.startswith(("_", "sitecustomize", "coverage", "$"))
    }
    assert foreign == editable


@pytest.mark.parametrize(
    "statement",
    [
        "import lenet_export",
        "from lenet_export import FORMATS",
        "import lenet_deploy",
        "import lenet_bench",
        "import lenet_serve",
    ],
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
        cli.app()
    assert "Usage" in shown.getvalue(), arguments
    heavy[" ".join(sys.argv)] = sorted({n.partition(".")[0] for n in sys.modules} & set(HEAVY))
print(json.dumps(heavy))
""".replace("HEAVY", repr(sorted(HEAVY)))
    found = run_python(code)
    assert "lenet-deploy export --help" in found
    assert not any(found.values()), found


@pytest.mark.parametrize("name", sorted(sources()))
def test_imports_go_one_way(name):
    ours = {root(imported) for imported in graph()[name]} & PACKAGES.keys()
    assert ours <= ALLOWED[root(name)] | {root(name)}


@pytest.mark.parametrize("name", [name for name in sorted(sources()) if "runtime" in root(name)])
def test_only_backends_import_engines(name):
    """An engine is imported inside the one room that needs it."""
    roots = {root(imported) for imported in graph()[name]}
    assert not roots & ENGINES or name.startswith("lenet_runtime.backends.")


def test_ray_stays_in_its_rooms():
    """All else runs where it is not installed."""
    rooms = {"lenet_deploy.batch.on_ray", "lenet_deploy.cli.serve_ray", "lenet_deploy.cluster",
             "lenet_serve.ray", "lenet_serve.ray_metrics"}  # fmt: skip
    assert {name for name in sources() if "ray" in {root(each) for each in graph()[name]}} <= rooms


@pytest.mark.parametrize("name", sorted(sources()))
def test_a_private_module_is_imported_in_its_own_package_alone(name):
    for imported in graph()[name] & sources().keys():
        package, _, leaf = imported.rpartition(".")
        if leaf.startswith("_"):
            assert name == package or name.startswith(f"{package}.")


def test_no_file_imports_itself_by_way_of_others():
    """Also by imports inside functions, which hide a circle rather than break it."""
    ours = {name: graph()[name] & sources().keys() for name in sources()}
    while True:  # take away those that import nothing that is left
        done = {name for name, imported in ours.items() if not imported}
        if not done:
            break
        ours = {name: imported - done for name, imported in ours.items() if name not in done}
    assert not ours, f"circles among {sorted(ours)}"


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_the_package_is_typed(name):
    assert (Path(PACKAGES[name].__file__).parent / "py.typed").is_file()
