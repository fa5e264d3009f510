"""The C functions of the CUDA driver that we call, with their types, and its errors as ours.

CUDA's driver API comes with every NVIDIA driver, so this module needs no CUDA toolkit, no PyTorch
and no other package. `cuda-bindings` wraps the same functions, all thousand of them, in 20 MB that
follow CUDA's major version; we need forty, whose signatures have not changed since CUDA 11.4.

Names and types: CUDA Driver API reference, and ``cuda.h``, which maps some names to a newer
version of the function (``cuMemAlloc`` to ``cuMemAlloc_v2``).
"""

import ctypes
import functools
from ctypes import POINTER, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from typing import Any

from lenet_runtime.errors import BackendUnavailable, DeployError, DeviceMemoryError

LIBRARY = "libcuda.so.1"

_OUT_OF_MEMORY = 2
# What a person can do about errors that are not the program's own fault.
_ADVICE = {
    3: "the driver was not initialised in this process; after os.fork CUDA works in the parent "
    "alone: start workers with multiprocessing's 'spawn', or load in the child only",
    100: "the driver sees no GPU; check nvidia-smi, CUDA_VISIBLE_DEVICES and, in a container, "
    "that it was started with its GPUs (docker run --gpus all)",
    101: "there is no GPU of this number; lenet-deploy doctor lists them",
    209: "the code was not compiled for this GPU; export it again on this machine",
    222: "the code needs a newer driver; update the NVIDIA driver",
    803: "the driver's kernel module and its library are of different versions; restart the "
    "machine",
    804: "this GPU or driver is too old for the installed CUDA compatibility package",
}

_DEVICE = c_int
_POINTER = c_ulonglong  # CUdeviceptr
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(_DEVICE), c_int),
    "cuDeviceGetName": (c_char_p, c_int, _DEVICE),
    "cuDeviceGetUuid": (c_void_p, _DEVICE),
    "cuDeviceTotalMem_v2": (POINTER(c_size_t), _DEVICE),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, _DEVICE),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), _DEVICE),
    "cuDevicePrimaryCtxRelease_v2": (_DEVICE,),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (POINTER(c_void_p),),
    "cuMemGetInfo_v2": (POINTER(c_size_t), POINTER(c_size_t)),
    "cuMemAlloc_v2": (POINTER(_POINTER), c_size_t),
    "cuMemFree_v2": (_POINTER,),
    "cuMemHostAlloc": (POINTER(c_void_p), c_size_t, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoD_v2": (_POINTER, c_void_p, c_size_t),
    "cuMemcpyHtoDAsync_v2": (_POINTER, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, _POINTER, c_size_t, c_void_p),
    "cuMemcpyDtoDAsync_v2": (_POINTER, _POINTER, c_size_t, c_void_p),
    "cuModuleLoadData": (POINTER(c_void_p), c_char_p),
    "cuModuleUnload": (c_void_p,),
    "cuModuleGetFunction": (POINTER(c_void_p), c_void_p, c_char_p),
    "cuFuncSetAttribute": (c_void_p, c_int, c_int),
    "cuLaunchKernel": (c_void_p, *(c_uint,) * 7, c_void_p, c_void_p, c_void_p),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamWaitEvent": (c_void_p, c_void_p, c_uint),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_ulonglong),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphDestroy": (c_void_p,),
    "cuGraphExecDestroy": (c_void_p,),
    "cuEventCreate": (POINTER(c_void_p), c_uint),
    "cuEventDestroy_v2": (c_void_p,),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventSynchronize": (c_void_p,),
    "cuEventQuery": (c_void_p,),
    "cuEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
}


@functools.cache
def library() -> ctypes.CDLL:
    """Open the driver's library and declare the types of its functions; CUDA is not started.

    Raises:
        BackendUnavailable: there is no NVIDIA driver, or it is older than CUDA 11.4.
    """
    try:
        driver = ctypes.CDLL(LIBRARY)
        for name, types in _SIGNATURES.items():
            getattr(driver, name).argtypes = types
    except (OSError, AttributeError) as error:
        raise BackendUnavailable(
            f"no NVIDIA driver for CUDA 11.4 or later is here ({error}); install the driver, or "
            "start the container with its GPUs (docker run --gpus all)"
        ) from error
    return driver


def check(code: int, doing: str) -> None:
    """Raise an error unless the driver's return code is 0; `doing` says what was tried.

    Raises:
        DeviceMemoryError: there was too little memory.
        DeployError: anything else went wrong; the message gives CUDA's name and words for it.
    """
    if code == 0:
        return
    message = f"CUDA: {doing} failed with {describe(code)}"
    if code == _OUT_OF_MEMORY:
        raise DeviceMemoryError(
            f"{message}; use smaller batches, or free memory of the GPU (nvidia-smi lists who "
            "has it)"
        )
    raise DeployError(message)


def describe(code: int) -> str:
    """CUDA's name and words for an error, with advice where we have some."""
    texts = []
    for function in (library().cuGetErrorName, library().cuGetErrorString):
        text = c_char_p()
        function(code, ctypes.byref(text))
        texts.append(text.value.decode(errors="replace") if text.value else "unknown")
    advice = f"; {_ADVICE[code]}" if code in _ADVICE else ""
    return f"error {code}, {texts[0]} ({texts[1]}){advice}"
