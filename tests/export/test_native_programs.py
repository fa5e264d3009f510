"""Whole programs round the generated C: two networks in one, and the caller's state."""

import platform

import numpy as np
import pytest
from native_c import (
    FLAGS,
    WARNINGS,
    any_compiler,
    drive,
    levels_here,
    library,
    other_net,
    shell,
    sources_of,
    write,
)  # fmt: skip
from samples import digits

TWO = """\
#include "digits/lenet.h"
#include "Letters_2/lenet.h"
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    static float images[DIGITS_PIXELS * 20], logits[2 * DIGITS_LOGITS * 20];
    void *first = malloc(digits_workspace_size()), *second = malloc(Letters_2_workspace_size());
    if (fread(images, sizeof images, 1, stdin) != 1 ||
        digits_run(images, logits, 20, first) != DIGITS_OK ||
        Letters_2_run(images, logits + 200, 20, second) != LETTERS_2_OK)
        return 1;
    free(first);
    free(second);
    return fwrite(logits, sizeof logits, 1, stdout) != 1;
}
"""
# Sets MXCSR, loads the library, calls each of its functions, and looks whether MXCSR stayed.
STATE = """\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>

typedef int Run(const float *, float *, size_t, void *);
typedef int Finite(const float *, size_t);
typedef size_t Size(void);
static int kept(unsigned state) { return ((_mm_getcsr() ^ state) & ~0x3fU) == 0; }

int main(int count, char **words)
{
    static float images[1024 * 20], logits[10 * 20];
    const unsigned state = count > 1 ? (unsigned)strtoul(words[1], NULL, 10) : 0;
    if (fread(images, sizeof images, 1, stdin) != 1)
        return 1;
    _mm_setcsr(state);
    void *const library = dlopen("./lenet.so", RTLD_NOW);
    if (library == NULL || !kept(state))
        return 2;
    void *const workspace = malloc(((Size *)(size_t)dlsym(library, "lenet_workspace_size"))());
    if (((Finite *)(size_t)dlsym(library, "lenet_all_finite"))(images, 20) != 1 || !kept(state))
        return 3;
    if (((Run *)(size_t)dlsym(library, "lenet_run_finite"))(images, logits, 1, workspace) ||
        !kept(state))
        return 4;
    if (((Run *)(size_t)dlsym(library, "lenet_run"))(images, logits, 20, workspace) ||
        !kept(state))
        return 5;
    _mm_setcsr(0x1f80);
    return fwrite(logits, sizeof logits, 1, stdout) != 1;
}
"""


def test_two_networks_in_one_program(net):
    """Each with a prefix of its own, included side by side; all of their names begin with it."""
    other, folder = other_net(5, 7, 120, 84), write({"main.c": TWO})
    for module, prefix in ((net, "digits"), (other, "Letters_2")):
        (folder / prefix).mkdir()
        for name, text in sources_of(module, prefix=prefix).items():
            (folder / prefix / name).write_text(text)
        shell(any_compiler(), *FLAGS, *WARNINGS, "-c", "-o", f"{prefix}.o", f"{prefix}/lenet.c",
              cwd=folder)  # fmt: skip
        symbols = shell("nm", "-g", "--defined-only", f"{prefix}.o", cwd=folder).decode().split()
        assert {name.startswith(f"{prefix}_") for name in symbols[2::3]} == {True}
    shell(any_compiler(), *FLAGS, "-o", "main", "main.c", "digits.o", "Letters_2.o", cwd=folder)
    found = drive(["./main"], digits()[:20], folder)
    np.testing.assert_array_equal(found[:20], library(net, "gcc", levels_here()[0]).run(digits(20)))
    expected = library(other, "gcc", levels_here()[0]).run(digits(20))
    np.testing.assert_array_equal(found[20:], expected)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads MXCSR")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_callers_floating_point_state_is_kept_and_borne(net, precision):
    """Loading and running change neither rounding nor flushing; who flushes tiny values gets the
    same logits of digits, and who rounds otherwise gets the same labels, but other logits."""
    folder = write(sources_of(net, precision=precision) | {"main.c": STATE})
    shell(any_compiler(), *FLAGS, "-fPIC", "-shared", "-o", "lenet.so", "lenet.c", cwd=folder)
    shell(any_compiler(), *FLAGS, "-o", "main", "main.c", "-ldl", cwd=folder)
    expected = library(net, "gcc", levels_here()[0], precision=precision).run(digits(20))
    for state in (0x1F80, 0x9FC0, 0x3F80, 0x5F80, 0x7F80):  # the last three: down, up, to zero
        found = drive(["./main", str(state)], digits(20), folder)
        if state in (0x1F80, 0x9FC0):
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
