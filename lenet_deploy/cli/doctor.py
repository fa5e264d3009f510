"""`lenet-deploy doctor`: what works on this machine, what does not, and why."""

import dataclasses
import os
import platform
import resource
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rich.table import Table

from lenet_deploy import __version__, cache
from lenet_deploy.cli.console import plain, print_json, progress, stdout
from lenet_deploy.cli.options import Json
from lenet_export import formats
from lenet_runtime import cpu, cuda
from lenet_runtime.backends import BACKENDS, backends_of, kinds_of
from lenet_runtime.cuda import driver
from lenet_runtime.errors import BackendUnavailable, DeployError, printable
from lenet_runtime.formats import FORMATS
from lenet_runtime.version import installed, pip_install

_DISTRIBUTIONS = (
    "numpy", "torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu",
    "tensorrt", "tensorrt-rtx", "safetensors", "pillow", "matplotlib", "typer", "rich",
)  # fmt: skip


_Found = TypeVar("_Found")


def doctor(*, as_json: Json = False) -> None:
    """List every format and backend, available or not and why, versions, CPU features and GPUs."""
    with progress() as step:
        report = diagnose(step)
    if as_json:
        print_json(report)
    else:
        _print(report)


def diagnose(step: Callable[[str], None] = lambda step: None) -> dict[str, Any]:
    """Everything `doctor` shows, as JSON types; `step` is told what is looked at.

    What breaks a check is what doctor is there to tell: it is listed, and the other checks go on.
    """
    faults: list[str] = []

    def check(name: str, find: Callable[[], _Found], otherwise: _Found) -> _Found:
        try:
            return find()
        except Exception as error:
            faults.append(f"{name} cannot be looked at: {_cause(error)}")
            return otherwise

    versions = {name: check(name, partial(installed, name), None) for name in _DISTRIBUTIONS}
    faults += _faults(versions)
    step("looking at this machine")
    for name, find in _SURROUNDINGS.items():
        faults += check(name, find, [])
    return {
        "lenet_deploy": __version__,
        "python": platform.python_version(),
        "system": check("the system", platform.platform, "unknown"),
        "cpu": check(
            "the CPU",
            lambda: {"model": cpu.model(), "level": cpu.level(), "flags": sorted(cpu.flags())},
            {"model": "unknown", "level": "unknown", "flags": []},
        ),
        "gpus": check("the GPUs", lambda: _gpus(faults), list[dict[str, Any]]()),
        "compilers": {"C": _compiler("CC", "gcc", "clang", "cc"), "C++": _compiler("CXX", "g++")},
        "formats": {name: _format_state(name, step) for name in FORMATS},
        "backends": {
            f"{name} on {device}": _backend_state(name, device)
            for name, backend in BACKENDS.items()
            for device in backend.devices
        },
        "versions": versions,
        "faults": faults,
    }


def _compiler(variable: str, *names: str) -> str | None:
    """The first compiler that is on PATH; an environment variable names another."""
    wanted = os.environ.get(variable, "").split()
    return next(filter(None, map(shutil.which, wanted[:1] or names)), None)


def _format_state(name: str, step: Callable[[str], None]) -> dict[str, Any]:
    """Whether `export --format name` can build and prove here."""
    step(f"looking for what {name} needs")
    reason = ""
    try:
        formats.require(name)
    except ImportError as error:
        reason = f"{error}; {pip_install('export')}"
    except BackendUnavailable as error:
        reason = str(error)
    except Exception as error:
        reason = f"the check broke: {_cause(error)}"
    able = [
        f"{backend} on {device}"
        for backend in backends_of(name)
        for device in BACKENDS[backend].devices
        if _backend_state(backend, device)["available"]
    ]
    if not reason and not able:
        reason = "no backend here can prove it"
        if "cpu" not in kinds_of(name):
            reason += "; export --no-verify publishes it for a machine with a GPU to prove"
    return {"available": not reason, "reason": reason, "verified_by": able}


def _backend_state(name: str, device: str) -> dict[str, Any]:
    try:
        return {"available": True, "reason": "", "version": BACKENDS[name].probe(device)}
    except BackendUnavailable as error:
        reason = str(error)
    except Exception as error:
        reason = f"the check broke: {_cause(error)}"
    return {"available": False, "reason": reason, "version": None}


def _cause(error: Exception) -> str:
    return printable(f"{type(error).__name__}: {error}", 300)


def _gpus(faults: list[str]) -> list[dict[str, Any]]:
    """Every GPU as `lenet_runtime.cuda.Gpu`; empty without a driver."""
    try:
        driver.library()
    except BackendUnavailable:  # no fault: most machines have no driver
        return []
    try:
        return [dataclasses.asdict(gpu) for gpu in cuda.gpus()]
    except BackendUnavailable as error:
        faults.append(str(error))
        return []


def _faults(versions: dict[str, str | None]) -> list[str]:
    """Installations that are broken although every package imports."""
    faults = []
    if versions["onnxruntime"] and versions["onnxruntime-gpu"]:
        faults.append(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; "
            "pip uninstall both, then install one: "
            f"{pip_install('cpu')}, or with [gpu]"
        )
    return faults


def _cache() -> list[str]:
    try:
        folder = cache.root()
    except DeployError as error:
        return [str(error)]
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if os.access(parent, os.W_OK | os.X_OK):
        return []
    return [f"{folder}: expected a folder of caches that can be written to; set XDG_CACHE_HOME"]


def _temporary_folder() -> list[str]:
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(2**16))
    except OSError as error:
        return [f"no temporary file can be written ({error}); set TMPDIR to a folder with room"]
    return []


def _proc() -> list[str]:
    if Path("/proc/self/fd").is_dir():
        return []
    return ["/proc is not mounted: the CPU is not known, and compiled artifacts may not load"]


def _limits() -> list[str]:
    faults = []
    for name, limit, least in (
        ("open files (ulimit -n)", resource.RLIMIT_NOFILE, 256),
        ("bytes of a file (ulimit -f)", resource.RLIMIT_FSIZE, 2**26),
    ):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY and soft < least:
            faults.append(f"the limit of {name} is {soft}; exports want {least}")
    return faults


# What each command assumes of the machine: a function that lists what is wrong.
_SURROUNDINGS = {
    "the cache": _cache,
    "the temporary folder": _temporary_folder,
    "/proc": _proc,
    "the limits": _limits,
}


def _print(report: dict[str, Any]) -> None:
    table = Table(title=f"lenet-deploy {report['lenet_deploy']} on Python {report['python']}")
    for heading in ("", "name", "state"):
        table.add_column(heading, overflow="fold")
    told: dict[str, str] = {}  # a missing driver is the reason of many
    for kind in ("formats", "backends"):
        for name, state in report[kind].items():
            detail = state.get("version") or ", ".join(state.get("verified_by", ()))
            good = f"[green]yes[/] {plain(detail)}"
            first = told.setdefault(state["reason"], name)
            bad = f"no: {plain(state['reason'] if first == name else f'as {first}')}"
            table.add_row(kind[:-1], name, good if state["available"] else bad)
        table.add_section()
    found = {name: version for name, version in report["versions"].items() if version}
    table.add_row("CPU", report["cpu"]["level"], plain(report["cpu"]["model"]))
    for gpu in report["gpus"]:
        table.add_row(
            "GPU",
            f"cuda:{gpu['index']}",
            plain(
                f"{gpu['name']}, compute capability {gpu['compute_capability']}, "
                f"{gpu['memory_bytes'] / 2**30:.0f} GiB, driver for CUDA {gpu['driver']}"
            ),
        )
    if not report["gpus"]:
        table.add_row("GPU", "0", "none found")
    for language, path in report["compilers"].items():
        table.add_row("compiler", language, plain(path or "none found"))
    table.add_row("versions", "", plain(", ".join(f"{n} {v}" for n, v in found.items())))
    absent = [name for name in report["versions"] if name not in found]
    table.add_row("not installed", "", ", ".join(absent))
    stdout.print(table)
    for fault in report["faults"]:
        stdout.print(f"[red]fault:[/] {plain(fault)}", soft_wrap=True)
