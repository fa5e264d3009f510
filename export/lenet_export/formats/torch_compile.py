"""``torch-compile``: compiled ahead of time by torch.compile's backend, once per batch range."""

import contextlib
import copy
import io
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch._inductor
from torch._inductor import config, cpu_vec_isa

from lenet_export.network.reference import one_thread
from lenet_export.quiet import quiet
from lenet_export.request import Build, Request
from lenet_runtime import cpu, cuda
from lenet_runtime.artifact import Requirements
from lenet_runtime.artifact.requirements import this_platform
from lenet_runtime.cuda import driver
from lenet_runtime.errors import BackendUnavailable, DeployError, first_line
from lenet_runtime.formats import FORMATS, numbered

(PACKAGE,) = FORMATS["torch-compile"].files
_GNU_STACK, _EXECUTABLE = 0x6474E551, 1  # PT_GNU_STACK and PF_X of elf.h
_VECTOR_FLAGS = ("abm", "amx", "avx", "bmi", "f16c", "fma", "gfni", "movbe", "sse4", "vaes", "vpcl")


# Inductor's settings from each batch size on. benchmarks/README.md has the measurement: of these
# three, what is fastest at 1 takes 1.8 times as long at 64, and the reverse is 3.4. Freezing packs
# weights for oneDNN, whose calls cost more than one image does;
# from 24 on, autotuning gains nothing.
_AUTOTUNED, _FROZEN = {"max_autotune": True}, {"freezing": True}
SETTINGS: dict[int, dict[str, Any]] = {1: _AUTOTUNED, 2: _AUTOTUNED | _FROZEN, 24: _FROZEN}
# On a GPU, kernels are tuned for the batch that the graph was traced with: from each batch size on,
# that batch. Chosen before the first measurement on a GPU.
CUDA_TUNED_FOR = {1: 2, 64: 4096}


def build(request: Request) -> Build:
    """Compile with AOTInductor; takes about 20 s a package.

    A dynamic batch gets a package for each of `SETTINGS`, which takes any batch and is named after
    the least that it is the fastest for: ``model-from-1.pt2``, ``model-from-2.pt2`` and so on. A
    static one gets a single package, of that shape. On a GPU there is one for each of
    `CUDA_TUNED_FOR`, and all are for GPUs of its compute capability.

    Raises:
        BackendUnavailable: there is no C++ compiler, or no GPU where it compiles for one.
        DeployError: the compiler failed.
    """
    require()
    if request.device.kind == "cuda":  # Inductor times kernels on the GPU that it compiles for
        from lenet_runtime.backends.torch.torch_cuda import require as require_gpu

        require_gpu(str(request.device))
    with quiet():
        settings, isa = _target()
    files = {
        numbered(PACKAGE, start): _package(request, settings | own, size)
        for start, own, size in _plan(request)
    }
    version, device = str(torch.__version__), request.device
    gpus = (float(cuda.gpu(device.index).compute_capability),) if device.kind == "cuda" else ()
    return Build(
        files,
        Requirements(
            device.kind, "torch", version, cpu_isa=isa, platform=this_platform(),
            compute_capability=gpus,
        ),
        {"torch": version},
    )  # fmt: skip


def _plan(request: Request) -> list[tuple[int, dict[str, Any], int]]:
    """For each package the least batch it serves, Inductor's settings, and the batch to trace."""
    static = request.static_batch
    if request.device.kind == "cuda":
        plan = [(start, _AUTOTUNED, size) for start, size in CUDA_TUNED_FOR.items()]
    else:
        plan = [(start, own, len(request.example)) for start, own in SETTINGS.items()]
    if static is None:
        return plan
    own = [own for start, own, _ in plan if start <= static][-1]
    return [(static, own, static)]


def _package(request: Request, settings: dict[str, Any], size: int) -> bytes:
    """Compile one package with Inductor's `settings`, traced with a batch of `size`."""
    batch = None if request.static_batch else ({0: torch.export.Dim("batch", min=1)},)
    device = torch.device(str(request.device))
    module = copy.deepcopy(request.module).to(device)
    example = torch.zeros(size, *request.example.shape[1:], device=device)
    # Gradients off, or freezing is ignored without a word.
    with (
        quiet(),
        torch.no_grad(),
        _arithmetic(request),
        tempfile.TemporaryDirectory(prefix="lenet-export-") as folder,
    ):
        package = Path(folder) / "model.pt2"
        on_cpu = request.device.kind == "cpu"
        try:
            # What autotuning times; the matrices of a small batch are not worth waking a second
            # thread for, and threads that wait for each other drown what it compares.
            with (
                one_thread(),
                contextlib.nullcontext() if on_cpu else _linkable_driver(Path(folder)),
            ):
                program = torch.export.export(module, (example,), dynamic_shapes=batch)
                torch._inductor.aoti_compile_and_package(
                    program, package_path=str(package), inductor_configs=settings
                )
        # OSError: PyTorch finds no CUDA toolkit, whose headers the code includes.
        except (RuntimeError, OSError, torch._inductor.exc.CppCompileError) as error:
            # A C++ compiler's own words come after the first line.
            essay = not isinstance(error, torch._inductor.exc.CppCompileError)
            reason = first_line(error) if essay else error
            raise DeployError(f"torch-compile: AOTInductor failed ({reason})") from error
        return _without_executable_stack(package.read_bytes())


def _without_executable_stack(package: bytes) -> bytes:
    """The package, whose library no longer asks for a stack that can be executed.

    Inductor assembles the weights without the section that says that no code is on the stack, so
    the linker believes there may be; glibc 2.41 and hardened services refuse such a library.
    """
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(package)) as source,
        zipfile.ZipFile(buffer, "w") as target,
    ):
        for member in source.infolist():
            data = bytearray(source.read(member))
            if data.startswith(b"\x7fELF"):
                (first,) = struct.unpack_from("<Q", data, 32)  # the program headers, of ELF64
                size, count = struct.unpack_from("<HH", data, 54)
                for start in range(first, first + size * count, size):
                    kind, flags = struct.unpack_from("<II", data, start)
                    if kind == _GNU_STACK:
                        struct.pack_into("<I", data, start + 4, flags & ~_EXECUTABLE)
            target.writestr(zipfile.ZipInfo(member.filename), bytes(data))
    return buffer.getvalue()


def _arithmetic(request: Request) -> contextlib.AbstractContextManager[None]:
    """Inductor writes into its kernels whether they may use TF32, as PyTorch's switches say."""
    if request.device.kind == "cpu":
        return contextlib.nullcontext()
    from lenet_runtime.backends.torch.torch_cuda import precision

    return precision(request.precision == "tf32")


@contextlib.contextmanager
def _linkable_driver(folder: Path) -> Iterator[None]:
    """Let the linker find the driver that is loaded.

    Inductor links with ``-lcuda``. Drivers bring ``libcuda.so.1`` alone, and the toolkit's stub of
    the other name is searched for only where CUDA_HOME is set.
    """
    driver.library()
    maps = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    found = next((m[5] for m in maps if len(m) == 6 and "/libcuda.so" in m[5]), None)
    before = os.environ.get("LIBRARY_PATH")
    if found is not None:
        (folder / "libcuda.so").symlink_to(found)
        os.environ["LIBRARY_PATH"] = os.pathsep.join(filter(None, [before, str(folder)]))
    try:
        yield
    finally:
        if before is not None:
            os.environ["LIBRARY_PATH"] = before
        elif found is not None:
            del os.environ["LIBRARY_PATH"]


def require() -> None:
    """Raise `BackendUnavailable` where there is no C++ compiler."""
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
    # Autotuning prints its tables on stderr, past every logger.
    silent = {"autotune_num_choices_displayed": 0, "max_autotune_report_choices_stats": False}
    settings |= {name: value for name, value in silent.items() if hasattr(config, name)}
    level, levels = cpu.level(), {"x86-64-v4": cpu.X86_64_V4, "x86-64-v3": cpu.X86_64_V3}
    if level in levels and hasattr(config.cpp, "march"):
        # Inductor adds its vector ISA's own flags; their names are Linux's ("avx512_vnni").
        vector = set(str(cpu_vec_isa.pick_vec_isa()).split()) & cpu.flags()
        needed = sorted(set(levels[level]) | vector)
        return settings | {"cpp.march": level}, tuple(needed)
    # Older releases always compile for this CPU, with all it has.
    return settings, tuple(sorted(f for f in cpu.flags() if f.startswith(_VECTOR_FLAGS)))
