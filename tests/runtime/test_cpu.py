"""The cores that a process may use: its affinity, within the quotas of its cgroups."""

import os

import pytest

from lenet_runtime import cpu

V2, V1 = "0::/kube/pod", "4:memory:/x\n1:cpu,cpuacct:/docker/ab\n0::/"
QUOTAS = {
    "no cgroups": (None, {}, 8),
    "no quota": (V2, {"kube/pod/cpu.max": "max 100000\n", "kube/cpu.max": "max 100000\n"}, 8),
    "three cores": (V2, {"kube/pod/cpu.max": "300000 100000\n"}, 3),
    "half a core": (V2, {"kube/pod/cpu.max": "50000 100000\n"}, 1),
    "two cores and a half": (V2, {"kube/pod/cpu.max": "250000 100000\n"}, 2),
    "a quota of the parent's": (
        V2,
        {"kube/pod/cpu.max": "max 100000\n", "kube/cpu.max": "200000 100000\n"},
        2,
    ),
    "the least of several": (
        V2,
        {"kube/pod/cpu.max": "300000 100000\n", "kube/cpu.max": "400000 100000\n"},
        3,
    ),
    "more than there are": (V2, {"kube/pod/cpu.max": "9900000 100000\n"}, 8),
    "a container that sees the host's path": (V2, {"cpu.max": "400000 100000\n"}, 4),
    "version 1": (
        V1,
        {
            "cpu,cpuacct/docker/ab/cpu.cfs_quota_us": "150000\n",
            "cpu,cpuacct/docker/ab/cpu.cfs_period_us": "50000\n",
        },
        3,
    ),
    "version 1 in a container": (
        V1,
        {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        2,
    ),
    "version 1 without a quota": (
        V1,
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        8,
    ),
    "a period of nothing": (V2, {"cpu.max": "100000 0\n"}, 8),
    "text": (V2, {"cpu.max": "a lot\n"}, 8),
    "another group's": (V2, {"kube/other/cpu.max": "100000 100000\n"}, 8),
}


@pytest.mark.parametrize(("group", "files", "cores"), QUOTAS.values(), ids=QUOTAS)
def test_a_quota_limits_the_cores(tmp_path, monkeypatch, group, files, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    if group is not None:
        files = {"proc/self/cgroup": group} | {f"sys/fs/cgroup/{k}": v for k, v in files.items()}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu.usable_cores(tmp_path) == cores


def test_an_affinity_limits_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 6}, raising=False)
    assert cpu.usable_cores(tmp_path) == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cpu.usable_cores(tmp_path) == os.cpu_count()


@pytest.mark.parametrize(
    ("names", "missing", "expected"),
    [
        (["x86-64-v4", "x86-64-v3", "generic"], "", "x86-64-v4"),
        (["x86-64-v4", "x86-64-v3", "generic"], "avx512vl", "x86-64-v3"),
        (["x86-64-v4", "x86-64-v3", "generic"], "fma", "generic"),
        (["x86-64-v4", "x86-64-v3"], "fma", None),
        (["avx512_vnni", "generic"], "", "avx512_vnni"),
        (["avx512_vnni", "generic"], "avx512_vnni", "generic"),
        (["avx512_bf16"], "avx512_bf16", None),
        (["sm_90"], "", None),
        ([], "", None),
    ],
)
def test_the_kernel_is_the_first_whose_flags_are_all_here(monkeypatch, names, missing, expected):
    every = frozenset(flag for flags in cpu.KERNELS.values() for flag in flags)
    monkeypatch.setattr(cpu, "flags", lambda: every - {missing})
    assert cpu.kernel(names) == expected


def test_every_kernel_that_is_generated_is_known():
    from lenet_export.formats.native import PRECISIONS
    from lenet_export.formats.native.isa import NONE

    every = {
        level
        for precision in PRECISIONS.values()
        for levels in precision.levels.values()
        for level in levels
        if level is not NONE
    }
    spelling = {"bmi": "bmi1", "avx512bf16": "avx512_bf16", "avx512vnni": "avx512_vnni",
                "avxvnni": "avx_vnni"}  # fmt: skip
    for level in every:
        if level.machine != "aarch64":  # whose features are Linux's flags, or taken for granted
            expected = {spelling.get(feature, feature) for feature in level.features}
            assert set(cpu.KERNELS[level.title]) == expected
    assert set(cpu.KERNELS) == {level.title for level in every}
