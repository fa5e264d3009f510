"""docs/native/example.c: one command builds it, and it reads real digits as the runtime does."""

import numpy as np
import pytest
from conftest import REPOSITORY
from native_c import any_compiler, levels_here, library, shell, sources_of, write
from samples import digits

from lenet_runtime.images.digits import load_digits

EXAMPLE = REPOSITORY / "docs" / "native" / "example.c"
STRICT = ("-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O2")


@pytest.fixture(scope="module")
def folder(net):
    """Where ``./example`` is."""
    folder = write(sources_of(net))
    command = (any_compiler(), *STRICT, "-I.", "-o", "example", EXAMPLE, "lenet.c")
    shell(*command, cwd=folder)
    return folder


def pgm(picture):
    return b"P5\n28 28\n255\n" + picture.tobytes()


def test_it_reads_real_digits(net, folder):
    """To the bit: its preprocessing, too, is the runtime's."""
    bundled = load_digits()
    expected = library(net, any_compiler(), levels_here()[0]).run(digits())
    for picture, wanted in zip(bundled.images[::6], expected[::6], strict=True):
        (folder / "digit.pgm").write_bytes(pgm(picture))
        answer, *lines = shell("./example", "digit.pgm", cwd=folder).decode().splitlines()
        logits = np.array([line.split()[1] for line in lines], np.float32)
        np.testing.assert_array_equal(logits, wanted)
        assert int(answer) == wanted.argmax()
    found = expected.argmax(axis=1)
    assert np.mean(found == bundled.labels) > 0.9


@pytest.mark.parametrize("data", [b"", b"P5\n28 27\n255\n", b"P5\n28 28\n255\nshort", b"P2 28 28"])
def test_it_refuses_other_files(folder, data):
    (folder / "other.pgm").write_bytes(data)
    with pytest.raises(AssertionError, match="expected a binary PGM"):
        shell("./example", "other.pgm", cwd=folder)
