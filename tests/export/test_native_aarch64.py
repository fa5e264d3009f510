"""``--target aarch64``: cross-compiled, run by QEMU; the same bits as here, and what is missing."""

import dataclasses
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from artifact_files import edit_manifest
from native_c import any_compiler, levels_here, library, need, request
from samples import digits, noise

import lenet_runtime
from lenet_export.formats.native import aarch64, build
from lenet_runtime.artifact.requirements import this_platform
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError

pytestmark = pytest.mark.skipif(this_platform() == aarch64.PLATFORM, reason="it is this machine")


def made(net, precision):
    return build(dataclasses.replace(request(net, "", precision), options={"target": "aarch64"}))


@pytest.fixture
def cross():
    need("aarch64-linux-gnu-gcc")
    need("qemu-aarch64")


def test_it_answers_as_this_machine_does_to_the_bit(net, cross):
    """So does int8: tests/trials/trial_targets.py, which takes as long again."""
    images = np.concatenate([digits(), noise(6)])
    images[-3:, 0, 7, 7] = np.inf, np.nan, 1e30
    result = made(net, "fp32")
    assert result.files["lenet.so"][:4] == b"\x7fELF"
    assert result.files["lenet.so"][18] == 183  # EM_AARCH64
    assert (result.requirements.platform, result.requirements.target) == (
        "linux-aarch64", "aarch64",
    )  # fmt: skip
    assert result.requirements.engine_version == "neon, generic"
    manifest = SimpleNamespace(precision="fp32", classes=10)
    emulated = result.emulator(SimpleNamespace(manifest=manifest))
    found = emulated.run(images)
    emulated.close()
    expected = library(net, any_compiler(), levels_here()[0]).run(images)
    np.testing.assert_array_equal(found, expected)


def test_a_program_that_fails_is_told_of(cross):
    emulated = aarch64.Emulated(b"no program", "fp32", 10)
    with pytest.raises(DeployError, match="qemu-aarch64 -cpu max ended with"):
        emulated.run(digits(1))
    emulated.close()


def test_without_a_compiler_or_an_emulator_it_says_what_to_install(net, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendUnavailable, match="apt install gcc-aarch64-linux-gnu"):
        made(net, "fp32")
    need_no_more = tmp_path / "aarch64-linux-gnu-gcc"
    need_no_more.write_text("#!/bin/sh\n")
    need_no_more.chmod(0o755)
    with pytest.raises(BackendUnavailable, match="apt install qemu-user"):
        made(net, "fp32")
    assert os.listdir(tmp_path) == ["aarch64-linux-gnu-gcc"]


def test_levels_of_x86_are_refused(net):
    with pytest.raises(InputError, match="aarch64 has no levels of x86-64"):
        aarch64.program(request(net, target="aarch64"))


def test_another_machine_says_where_to_load_it(exported, tmp_path):
    """And how to make one for itself."""

    def move(document):
        document["requirements"] |= {"platform": "linux-aarch64", "target": "aarch64"}

    folder = shutil.copytree(exported("native").path, tmp_path / "moved")
    edit_manifest(folder, move)
    with pytest.raises(BackendUnavailable) as caught:
        lenet_runtime.load(folder, trust=True)
    for words in ("64-bit ARM under Linux", "load it there", "--format native --precision fp32"):
        assert words in str(caught.value)
    assert "--target" not in str(caught.value)
