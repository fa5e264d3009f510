"""The files of a fused artifact: ``programs.json``, and the kernels that each GPU gets."""

import dataclasses
import json
from pathlib import Path

import pytest

from lenet_runtime.backends.fused import fused_cuda
from lenet_runtime.backends.fused import programs as fused_programs
from lenet_runtime.cuda import Gpu
from lenet_runtime.errors import ArtifactError, BackendUnavailable


def text_of(**changes):
    """``programs.json`` of two programs, the second with `changes`."""
    first = dataclasses.asdict(fused_programs.Program(1, 1, 32, "one", 1, "one_raw", 1))
    return json.dumps([first, first | {"start": 2} | changes]).encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{}", "a list"),
        (b"[]", "ascending"),
        (b"[", "Expecting"),
        (b'[{"start": 1}]', "programs.json"),
        (text_of(kernel="lenet_one\0"), "names of C functions"),
        (text_of(raw_kernel="\ud800"), "names of C functions"),
        (text_of(threads=0), "at least 1"),
        (text_of(start=10**12), "starts of at most 16384"),
    ],
)
def test_foreign_programs_are_refused(artifact, monkeypatch, text, reason):
    monkeypatch.setattr(type(artifact), "read", lambda self, name: text)
    with pytest.raises(ArtifactError, match=reason):
        fused_cuda.starts(artifact)


CUBINS = ("lenet-sm_80.cubin", "lenet-sm_86.cubin", "lenet-sm_90.cubin", "lenet-sm_120.cubin")


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ("8.0", "lenet-sm_80.cubin"),
        ("8.6", "lenet-sm_86.cubin"),
        ("8.9", "lenet-sm_86.cubin"),
        ("9.0", "lenet-sm_90.cubin"),
        ("12.1", "lenet-sm_120.cubin"),
        ("10.0", None),
    ],
)
def test_each_gpu_gets_the_best_file_for_it(capability, name):
    class Held:
        path = Path("held")

        class manifest:  # noqa: N801
            files = dict.fromkeys(CUBINS)

        read = staticmethod(lambda name: name)

    found = Gpu(0, "Fake", "", capability, 0, 1, 0, "13.0")
    if name is None:
        with pytest.raises(BackendUnavailable, match="none of which"):
            fused_programs.code_for(Held, found)
    else:
        assert fused_programs.code_for(Held, found) == name
