"""The GPUs of this machine, as the CUDA driver describes them."""

import ctypes
import uuid
from ctypes import byref, c_int, c_size_t
from dataclasses import dataclass

from lenet_runtime.cuda.driver import check, describe, library
from lenet_runtime.errors import BackendUnavailable, DeployError

# CUdevice_attribute of cuda.h
_MULTIPROCESSORS, _MAJOR, _MINOR, _SHARED_OPTIN = 16, 75, 76, 97
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


@dataclass(frozen=True)
class Gpu:
    """What the driver says about one GPU.

    Attributes:
        index: Number of the GPU, as in ``cuda:1``.
        name: The driver's name for the GPU, such as ``NVIDIA H100 80GB HBM3``.
        uuid: Identifier of this very GPU, 32 hexadecimal digits.
        compute_capability: Compute capability, such as ``9.0``.
        memory_bytes: Total device memory in bytes.
        multiprocessors: Number of streaming multiprocessors.
        shared_bytes: Largest shared memory of one thread block, in bytes.
        driver: CUDA version of the driver, such as ``13.0``.
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
        """The UUID as nvidia-smi and CUDA_VISIBLE_DEVICES spell it, ``GPU-1b4e28ba-...``."""
        return f"GPU-{uuid.UUID(self.uuid)}"


def count() -> int:
    """Return the number of GPUs that CUDA sees, at least one.

    Raises:
        BackendUnavailable: CUDA sees no GPU; the message says why.
    """
    driver, number = library(), c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(byref(number))
    if code or not number.value:
        raise BackendUnavailable(f"CUDA cannot be used here: {describe(code or _NO_DEVICE)}")
    return number.value


def gpu(index: int) -> Gpu:
    """Describe the GPU of this number; nothing is allocated on it.

    Raises:
        BackendUnavailable: there is no GPU of this number; the message lists the others.
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
    """Describe every GPU; raises `BackendUnavailable` where there is none."""
    return [gpu(index) for index in range(count())]
