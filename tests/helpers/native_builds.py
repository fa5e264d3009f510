"""The C of random networks, by every compiler and flag that a project may take.

``python tests/helpers/native_builds.py SEED SECONDS``, with tests/helpers on PYTHONPATH, goes on
with another random network in all `BUILDS` until the time is over.
"""

import itertools
import shutil
import sys
import time

import numpy as np
import torch
from native_c import DRIVER, FLAGS, drive, levels_here, request, shell, write
from random_networks import SETTLED, SHAPES, answers, images_for, module_of, random_network, shares

from lenet_export.formats.native import generate

SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# Each a compiler with its flags; what an emulator has to run comes last.
BUILDS = [
    (compiler, f"-O{level}", standard, *plain)
    for compiler, level, standard, plain in itertools.product(
        ("gcc", "clang"), range(4), ("-std=c99", "-std=gnu17"), ((), ("-DLENET_PLAIN_C",))
    )
]
BUILDS += [(cc, f"-O{level}", "-march=native") for cc in ("gcc", "clang") for level in (2, 3)]
BUILDS += [("gcc", f"-O{level}", "-m32", "-msse2", "-mfpmath=sse") for level in (0, 2)]
BUILDS += [(cc, *SANITIZE, f"-O{level}") for cc in ("gcc", "clang") for level in (0, 1, 2)]
BUILDS += [("aarch64-linux-gnu-gcc", f"-O{level}", "-static") for level in range(4)]


def works(build):
    """Whether this machine has what a build needs."""
    tools = build[:1] + (("qemu-aarch64",) if "aarch64" in build[0] else ())
    if not all(map(shutil.which, tools)):
        return False
    trivial = {"main.c": '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n'}
    try:
        shell(*build, "-o", "main", "main.c", cwd=write(trivial))
    except AssertionError:
        return False
    return True


def program_of(build, folder):
    """A command that runs the lenet.c of `folder`, built as `build` says."""
    name = "main" + "".join(build).replace("/", "").replace(",", "")
    # gcc's static analysis is no judge of code under sanitizers.
    strict = FLAGS if "-g" not in build else ("-fPIC",)
    shell(build[0], *strict, *build[1:], "-o", name, "main.c", "lenet.c", cwd=folder)
    return ["qemu-aarch64", f"./{name}"] if "aarch64" in build[0] else [f"./{name}"]


def check(seed, builds, precision="fp32"):
    """Build a random network and compare it with eager in fp32, or int8's answers with each other;
    returns how many builds there were."""
    rng = np.random.default_rng(seed)
    images = np.concatenate([images_for(rng, 12), np.full((1, 1, 32, 32), np.nan, np.float32)])
    while True:
        network, kinds = random_network(rng, SHAPES[rng.integers(len(SHAPES))])
        expected = answers(network, images[:-1])
        exact = answers(network, images[:-1], dtype=torch.float64)
        if np.isfinite(expected).all() and shares(expected, exact).max() < SETTLED:
            break
    level = str(rng.choice(levels_here()))
    sources = generate(request(module_of(network), level, precision))
    folder = write(sources | {"main.c": DRIVER.replace(" || !lenet_all_finite(x, batch)", "")})
    first = None
    for build in builds:
        found = drive(program_of(build, folder), images, folder)
        where = f"seed {seed}, {kinds}, {level}, {precision}: {' '.join(build)}"
        assert np.isnan(found[-1]).all(), where
        if precision == "fp32":
            worst = shares(found[:-1], expected).max()
            assert worst <= 1, f"{where}: {worst:.2f} of the tolerance"
        else:
            first = found if first is None else first
            np.testing.assert_array_equal(found, first, err_msg=where)
    return len(builds)


if __name__ == "__main__":  # SEED SECONDS
    able, end = [build for build in BUILDS if works(build)], time.monotonic() + float(sys.argv[2])
    done = 0
    for seed in itertools.count(int(sys.argv[1])):
        for precision in ("fp32", "int8"):
            done += check(seed, able, precision)
        if time.monotonic() > end:
            break
    print(f"{len(able)} of {len(BUILDS)} builds work here; {done} made and compared")
