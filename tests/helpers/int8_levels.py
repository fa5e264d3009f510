"""int8 by each of its kernels, whichever this CPU would choose: a library with all entries."""

import functools

from native_c import compiled, sources_of

from lenet_export.formats.native import PRECISIONS
from lenet_runtime import cpu

# Behind lenet.c, so that it sees what is static there.
_ENTRY = """
int run_at_NAME(const float *images, float *logits, size_t batch, void *workspace);
int run_at_NAME(const float *images, float *logits, size_t batch, void *workspace)
{
    uint8_t *const work = (uint8_t *)workspace + (-(uintptr_t)workspace & 63);
    for (size_t i = 0; i < batch; i += LENET_CHUNK) {
        const size_t n = batch - i < LENET_CHUNK ? batch - i : LENET_CHUNK;
        lenet_chunk(NAME, images + LENET_PIXELS * i, logits + LENET_LOGITS * i, n, work);
    }
    return LENET_OK;
}
"""


def here(isa="x86-64-v4"):
    """The kernels that an artifact of this `isa` has and this CPU runs, best first."""
    return [
        level for level in PRECISIONS["int8"].levels[isa]
        if level.machine in ("", "x86_64") and cpu.flags().issuperset(cpu.KERNELS[level.title])
    ]  # fmt: skip


def sources(module, isa="x86-64-v4"):
    """lenet.c, with an entry for each of `here`, and lenet.h."""
    files = sources_of(module, isa, "int8")
    entries = "".join(_ENTRY.replace("NAME", level.name.upper()) for level in here(isa))
    return files | {"lenet.c": files["lenet.c"] + entries}


@functools.cache
def library(module, compiler, *flags, isa="x86-64-v4"):
    """A `Library` of `sources`, compiled once in a session."""
    return compiled(sources(module, isa), compiler, *flags)


def answers(module, compiler, *flags, isa="x86-64-v4"):
    """What each of `here` answers, by its title: a function from images to logits."""
    run = library(module, compiler, *flags, isa=isa).run
    return {
        level.title: functools.partial(run, function=f"run_at_{level.name.upper()}")
        for level in here(isa)
    }
