"""``torch-compile``: compiled ahead of time by torch.compile's backend into one package."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch._inductor
from torch._inductor import config, cpu_vec_isa

from lenet_export._quiet import quiet
from lenet_export.request import Build, Request
from lenet_runtime import cpu
from lenet_runtime.artifact import Requirements
from lenet_runtime.errors import BackendUnavailable, DeployError
from lenet_runtime.requirements import this_platform

_VECTOR_FLAGS = ("abm", "amx", "avx", "bmi", "f16c", "fma", "gfni", "movbe", "sse4", "vaes", "vpcl")


def build(request: Request) -> Build:
    """Compile with AOTInductor into ``model.pt2``; takes about 20 s.

    Raises:
        BackendUnavailable: there is no C++ compiler.
        DeployError: the compiler failed.
    """
    _require_compiler()
    batch = None if request.static_batch else ({0: torch.export.Dim("batch", min=1)},)
    with quiet():
        settings, isa = _target()
    with tempfile.TemporaryDirectory(prefix="lenet-export-") as folder:
        package = Path(folder) / "model.pt2"
        try:
            with quiet():
                program = torch.export.export(
                    request.module, (request.example,), dynamic_shapes=batch
                )
                torch._inductor.aoti_compile_and_package(
                    program, package_path=str(package), inductor_configs=settings
                )
        except (RuntimeError, torch._inductor.exc.CppCompileError) as error:
            raise DeployError(f"torch-compile: AOTInductor failed ({error})") from error
        data = package.read_bytes()
    version = str(torch.__version__)
    return Build(
        {"model.pt2": data},
        Requirements("cpu", "torch", version, cpu_isa=isa, platform=this_platform()),
        {"torch": version},
    )


def _require_compiler() -> None:
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise BackendUnavailable(
            f"torch-compile: expected a C++ compiler, found no {compiler!r} on PATH; "
            "install g++ (Debian: apt install g++), or set CXX"
        )


def _target() -> tuple[dict[str, Any], tuple[str, ...]]:
    """Inductor's settings, and the CPU flags that the code will need.

    Inductor compiles for the very CPU it runs on, so a package would die of an illegal
    instruction on its neighbour, and nothing in it would say why. A level of the x86-64 psABI
    is nearly as fast, runs on every CPU of that level, and can be checked at load.
    """
    # The number of threads is the loading process's business, not a constant of the package.
    settings: dict[str, Any] = {"cpp.dynamic_threads": True}
    if hasattr(config.aot_inductor, "enable_line_tables"):
        settings["aot_inductor.enable_line_tables"] = False  # they are paths of this machine
    level, levels = cpu.level(), {"x86-64-v4": cpu.X86_64_V4, "x86-64-v3": cpu.X86_64_V3}
    if level in levels and hasattr(config.cpp, "march"):
        # Inductor adds its vector ISA's own flags; their names are Linux's ("avx512_vnni").
        vector = set(str(cpu_vec_isa.pick_vec_isa()).split()) & cpu.flags()
        needed = sorted(set(levels[level]) | vector)
        return settings | {"cpp.march": level}, tuple(needed)
    # Older releases always compile for this CPU, with all it has.
    return settings, tuple(sorted(f for f in cpu.flags() if f.startswith(_VECTOR_FLAGS)))
