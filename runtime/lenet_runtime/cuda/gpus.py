"""The GPUs of this machine, as the driver tells."""

import ctypes
import uuid
from ctypes import byref, c_int, c_size_t
from dataclasses import dataclass

from lenet_runtime.cuda.driver import check, describe, library
from lenet_runtime.errors import BackendUnavailable, DeployError

# CUdevice_attribute of cuda.h
_MULTIPROCESSORS, _MAJOR, _MINOR, _SHARED_OPTIN = 16, 75, 76, 97


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        index: its number, as in ``cuda:1``.
        name: the driver's name of it.
        uuid: unlike those of all other GPUs.
        compute_capability: ``9.0``.
        memory_bytes: of device memory, in all.
        multiprocessors: how many.
        shared_bytes: of shared memory that one block may have.
        driver: the CUDA version of the driver, ``13.0``.
    """

    index: int
    name: str
    uuid: str
    compute_capability: str
    memory_bytes: int
    multiprocessors: int
    shared_bytes: int
    driver: str

    @property
    def nvidia_id(self) -> str:
        """Its UUID as nvidia-smi and CUDA_VISIBLE_DEVICES spell it, ``GPU-1b4e28ba-...``."""
        return f"GPU-{uuid.UUID(self.uuid)}"


def count() -> int:
    """How many GPUs CUDA sees; at least one.

    Raises:
        BackendUnavailable: none, and why.
    """
    driver, number = library(), c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(byref(number))
    if code:
        raise BackendUnavailable(f"CUDA cannot be used here: {describe(code)}")
    if not number.value:
        raise BackendUnavailable(f"CUDA cannot be used here: {describe(100)}")
    return number.value


def gpu(index: int) -> Gpu:
    """What the GPU of this number is; nothing is allocated on it.

    Raises:
        BackendUnavailable: there is none of this number; says which there are.
    """
    number = count()
    if not 0 <= index < number:
        names = ", ".join(f"cuda:{i} ({gpu(i).name})" for i in range(number))
        raise BackendUnavailable(f"device: no 'cuda:{index}' on this machine, which has {names}")
    try:
        return _describe_gpu(index)
    except DeployError as error:
        raise BackendUnavailable(str(error)) from error


def _describe_gpu(index: int) -> Gpu:
    driver, device, version, memory = library(), c_int(), c_int(), c_size_t()
    name, identity = ctypes.create_string_buffer(256), ctypes.create_string_buffer(16)
    check(driver.cuDeviceGet(byref(device), index), f"finding GPU {index}")
    check(driver.cuDeviceGetName(name, len(name), device), "reading a GPU's name")
    check(driver.cuDeviceGetUuid(identity, device), "reading a GPU's UUID")
    check(driver.cuDeviceTotalMem_v2(byref(memory), device), "reading a GPU's memory size")
    check(driver.cuDriverGetVersion(byref(version)), "reading the driver's version")

    def attribute(number: int) -> int:
        value = c_int()
        check(driver.cuDeviceGetAttribute(byref(value), number, device), "reading a GPU's limits")
        return value.value

    return Gpu(
        index,
        name.value.decode(errors="replace"),
        identity.raw.hex(),
        f"{attribute(_MAJOR)}.{attribute(_MINOR)}",
        memory.value,
        attribute(_MULTIPROCESSORS),
        attribute(_SHARED_OPTIN),
        f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


def gpus() -> list[Gpu]:
    """Every GPU; raises `BackendUnavailable` where there is none."""
    return [gpu(index) for index in range(count())]
