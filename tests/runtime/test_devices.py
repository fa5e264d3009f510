"""Names of devices, and whether an artifact is for the GPU that is asked for."""

import pytest
from artifact_files import make_manifest
from fake_engine import BACKEND

from lenet_runtime import devices
from lenet_runtime.artifact import Requirements, requirements
from lenet_runtime.backends import BACKENDS, choose
from lenet_runtime.devices import Device
from lenet_runtime.errors import BackendUnavailable, InputError


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("cpu", Device("cpu")),
        ("cuda", Device("cuda", 0)),
        ("cuda:0", Device("cuda", 0)),
        ("cuda:17", Device("cuda", 17)),
    ],
)
def test_a_name_is_a_device(name, device):
    assert devices.parse(name) == device
    assert devices.parse(str(device)) == device


@pytest.mark.parametrize(
    "name", ["", "gpu", "CUDA", "cuda:", "cuda:01", "cuda:-1", "cuda:1 ", "cpu:0", "cuda:99999", 0]
)
def test_anything_else_is_refused(name):
    with pytest.raises(InputError, match=r"expected 'cpu', 'cuda' or 'cuda:N'"):
        devices.parse(name)


def test_a_backend_is_not_asked_for_a_device_that_it_never_runs_on():
    with pytest.raises(InputError, match=r"'ort-cpu' runs on cpu, found 'cuda:1'"):
        choose("onnx", "ort-cpu", "cuda:1")


def test_a_format_without_a_backend_for_the_device_says_so():
    with pytest.raises(BackendUnavailable, match=r"no backend .* 'native' artifacts on 'cuda'"):
        choose("native", "auto", "cuda")


@pytest.mark.parametrize(
    ("needed", "later", "found", "fits"),
    [
        ((9.0,), False, "9.0", True),
        ((9.0,), False, "8.9", False),
        ((8.0, 8.6), False, "8.6", True),
        ((8.0, 8.6), False, "8.9", False),
        ((8.0,), True, "8.0", True),
        ((8.0,), True, "12.0", True),
        ((8.0,), True, "7.5", False),
        ((9.0,), True, "10.0", True),  # numbers, not text
        ((12.0,), False, "9.0", False),
        ((8.0, 12.0), True, "9.0", True),
        *((foreign, False, "9.0", False) for foreign in ((0.0,), (-9.0,), (1e300,), (90.0,))),
    ],
)
def test_an_artifact_is_for_some_gpus(fake_cuda, needed, later, found, fits):
    fake_cuda(devices=2, capability=tuple(map(int, found.split("."))))
    needs = Requirements("cuda", "fake", "1", compute_capability=needed, later_gpus=later)
    reasons = requirements.unmet(make_manifest(requirements=needs), BACKEND, "cuda:1")
    assert (reasons == []) == fits
    if not fits:
        assert reasons == [
            f"it was built for GPUs of compute capability {requirements.gpus_of(needs)!r}, cuda:1 "
            f"(Fake GPU 1) has {found}"
        ]


def test_a_missing_gpu_is_a_reason(fake_cuda):
    fake_cuda()
    needs = Requirements("cuda", "fake", "1", compute_capability=(9.0,))
    (reason,) = requirements.unmet(make_manifest(requirements=needs), BACKEND, "cuda:3")
    assert "no 'cuda:3' on this machine" in reason


def test_what_was_made_for_a_gpu_does_not_run_on_the_cpu():
    needs = Requirements("cuda", "fake", "1", compute_capability=(9.0,))
    (reason,) = requirements.unmet(make_manifest(requirements=needs), BACKEND, "cpu")
    assert reason == "it was made for the device 'cuda' and is asked to run on 'cpu'"


def test_every_backend_names_devices_that_exist():
    for backend in BACKENDS.values():
        assert set(backend.devices) <= {"cpu", "cuda"}
