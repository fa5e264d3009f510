"""The generated C: any build of it, and any network of the family under sanitizers."""

import contextlib
import ctypes
import functools
import shutil
import subprocess

import numpy as np
from native_c import (
    DRIVER,
    LEVELS,
    Library,
    calibration,
    levels_here,
    new_folder,
    sequential,
    sources_of,
)
from samples import digits, noise

from lenet_deploy.training.checkpoint import load_checkpoint
from lenet_export.formats.native import PRECISIONS
from lenet_export.network.reference import Reference
from lenet_runtime.parity import TOLERANCES, compare

WARNINGS = ("-Wall", "-Wextra", "-Werror")
STANDARDS = ("-std=gnu11", "-std=gnu17", "-std=c11", "-std=c99", "-std=gnu99")
OPTIMIZED = ("-O0", "-O1", "-O2", "-O3", "-Os", "-Og")
FLAGS = (
    "-march=native", "-flto", "-funroll-loops", "-fno-inline", "-fwrapv", "-funsigned-char",
    "-fno-strict-aliasing", "-ffp-contract=off", "-fno-tree-vectorize", "-fstack-protector-all",
    "-fno-omit-frame-pointer", "-g", "-D_FORTIFY_SOURCE=2", "-pedantic",
    "-fno-builtin", "-fPIE", "-DNDEBUG", "-finstrument-functions", "-ftrapv",
    "-fcf-protection=full",
)  # fmt: skip
SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def shell(*command, cwd, **options):
    """Run a command; its words on stderr are a finding unless it succeeds in silence."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, check=False, **options)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode(errors="replace")[:2000]
    return done.stdout


def require(answer, reference, images, precision):
    found = compare(
        answer, reference.eager(images), TOLERANCES[precision], exact=reference.exact(images)
    )
    assert found.ok, f"answers wrongly: {found.reason}"


def written(module, level, precision):
    folder = new_folder()
    for name, text in sources_of(module, level, precision).items():
        (folder / name).write_text(text)
    return folder


@contextlib.contextmanager
def builds(artifacts, scratch):
    """The bundled network's C by any compiler, standard and flags: no warning, right answers."""
    net = load_checkpoint()
    reference = Reference(net)
    compilers = [name for name in ("gcc", "clang") if shutil.which(name)]

    def case(draw):
        precision, compiler = draw.choice(list(PRECISIONS)), draw.choice(compilers)
        level = draw.choice(list(LEVELS)) if precision == "fp32" else "x86-64-v4"
        flags = [draw.choice(STANDARDS), draw.choice(OPTIMIZED)]
        flags += draw.sample(FLAGS, draw.randrange(4))
        if compiler == "clang":
            flags = [flag for flag in flags if flag != "-flto"]  # needs a linker of its own
        if "-O0" in flags and "-D_FORTIFY_SOURCE=2" in flags:
            flags.remove("-D_FORTIFY_SOURCE=2")  # glibc itself warns
        draw.note(f"{precision} {level} {compiler} {' '.join(flags)}")
        folder = written(net, level, precision)
        shell(compiler, *WARNINGS, *flags, "-fPIC", "-shared", "-o", "l.so", "lenet.c", cwd=folder)
        if precision == "fp32" and level not in levels_here():
            return "compiled"
        images = digits(draw.randrange(1, 61))
        if precision == "fp32":  # in fewer bits noise's near ties fall otherwise
            images = np.concatenate([noise(draw.randrange(1, 40), draw.randrange(99)), images])
        library = Library(folder / "l.so")
        answer = library.run(images)
        require(answer, reference, images, precision)
        ctypes.CDLL(None).dlclose(ctypes.c_void_p(library.c._handle))
        shutil.rmtree(folder)
        return "right"

    calibration()
    yield case


@contextlib.contextmanager
def networks(artifacts, scratch):
    """Networks of any sizes and weights, under the address and undefined-behaviour sanitizers."""
    import torch

    def case(draw):
        first, second = draw.choice([1, 2, 6, 7, 16, 33]), draw.choice([1, 3, 16, 17, 40])
        widths = [draw.choice([1, 2, 15, 16, 17, 84, 120]) for _ in range(draw.randrange(4))]
        precision = draw.choice(["fp32", "fp32", "bf16", "int8"])
        level = draw.choice(levels_here()) if precision == "fp32" else "x86-64-v4"
        scale = draw.choice([1, 1, 1e-3, 1e3])
        optimized = draw.choice(["-O1", "-O1", "-O2", "-O0"])
        count = draw.choice([1, 2, 3, 7, 33])
        draw.note(f"{first} {second} {widths} x{scale} {precision} {level} {optimized} n={count}")
        torch.manual_seed(draw.randrange(2**31))
        module = sequential(first, second, widths, bias=draw.random() < 0.8)
        module.eval().requires_grad_(False)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(scale)
        folder = written(module, level, precision)
        (folder / "main.c").write_text(DRIVER)
        command = ("gcc", "-std=gnu11", optimized, *SANITIZE, "-o", "main", "main.c", "lenet.c")
        shell(*command, cwd=folder)
        images = noise(count, draw.randrange(99))
        out = shell("./main", cwd=folder, input=images.tobytes())
        answer = np.frombuffer(out, np.float32).reshape(-1, 10)
        assert answer.shape == (count, 10), "no answer"
        assert np.isfinite(answer).all(), "no numbers"
        if precision == "fp32":
            require(answer, Reference(module), images, precision)
        shutil.rmtree(folder)
        return "right"

    yield case


@contextlib.contextmanager
def rounding(artifacts, scratch):
    """Networks of odd weights: what the export's own batches let pass keeps the tolerance."""
    from random_networks import Mould, campaign

    mould = functools.cache(lambda shape, direct: Mould(shape, direct, "gcc", "-O1"))

    def case(draw):
        seed = draw.randrange(2**31)
        draw.note(f"campaign {seed}")
        counts = campaign(seed, mould, networks=1)
        assert not counts["over"], "rows above the tolerance"
        return "refused" if counts["refused"] else "right" if counts["rows"] else "ill-conditioned"

    yield case
