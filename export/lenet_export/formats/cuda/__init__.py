"""``cuda``: the whole network in one kernel, compiled for each kind of NVIDIA GPU.

The kernels are CUDA C++ beside this file: `lenet.cu` names them, `latency.cuh` and
`throughput.cuh` run the layers of `convolution.cuh` and `dense.cuh` on tensor cores, `exact.cuh` is
float32 without them. `pack` orders the weights as the kernels read them, `compiler` asks NVRTC, and
`programs` says which kernel runs which batch. docs/cuda.md explains it. The export needs no GPU,
its proof does.
"""

from lenet_export.formats.cuda import compiler, pack, programs
from lenet_export.network import layers
from lenet_export.request import Build, Request
from lenet_runtime.artifact import Requirements
from lenet_runtime.backends.fused.programs import CUBIN, PROGRAMS, PTX, WEIGHTS
from lenet_runtime.errors import BackendUnavailable, InputError
from lenet_runtime.formats import numbered

OPTION = "architectures"


def build(request: Request) -> Build:
    """Compile the kernels for every architecture, and pack the weights.

    The option ``architectures`` names those to compile for, of `compiler.ARCHITECTURES` and
    ``compute_80``, which is PTX for all later GPUs; where it is not given, all that this NVRTC
    knows.

    Raises:
        InputError: the module is not LeNet's chain of layers or larger than LeNet, or an
            architecture is unknown.
        BackendUnavailable: there is no NVRTC, or it does not know the architecture.
        DeployError: NVRTC failed.
    """
    nvrtc = compiler.load()
    architectures = _architectures(request.options.get(OPTION), compiler.supported(nvrtc))
    network = layers.read(request.module, request.image_shape, "cuda")
    weights = pack.pack(network, request.precision, request.preprocessing)
    ptx = compiler.compile_for(nvrtc, compiler.PTX, request.precision).code.rstrip(b"\0")
    files = {WEIGHTS: weights, PROGRAMS: programs.table(ptx.decode(), request.precision)}
    for name in architectures:
        if name == compiler.PTX:
            files[PTX] = ptx
        else:
            cubin = numbered(CUBIN, int(name.removeprefix("sm_")))
            files[cubin] = compiler.compile_for(nvrtc, name, request.precision).code
    return Build(
        files,
        Requirements(
            "cuda", "nvrtc", compiler.version(nvrtc), compute_capability=_gpus(architectures),
            later_gpus=compiler.PTX in architectures,
        ),
        {"nvrtc": compiler.version(nvrtc)},
        kernels_of(request.precision, architectures),
    )  # fmt: skip


def require() -> None:
    """Raise `BackendUnavailable` where there is no NVRTC."""
    compiler.load()


def kernels_of(precision: str, architectures: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """What computes each layer, for `Manifest.kernels`."""
    kernel = (precision, "ffma" if precision == "fp32" else "mma", *architectures)
    return dict.fromkeys(("conv1", "conv2", "fc1", "fc2", "fc3"), kernel)


def _gpus(architectures: tuple[str, ...]) -> tuple[float, ...]:
    """The compute capabilities that these serve; of PTX, which serves all later, the least."""
    if compiler.PTX in architectures:
        return (8.0,)
    return tuple(gpu for name in architectures for gpu in compiler.ARCHITECTURES[name])


def _architectures(option: str | None, supported: tuple[str, ...]) -> tuple[str, ...]:
    """Those to compile for, in the order of the table."""
    known = (*compiler.ARCHITECTURES, compiler.PTX)
    if option is None:
        return (*supported, compiler.PTX)
    names = option.split(",")
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise InputError(f"architectures: expected some of {','.join(known)}, found {unknown}")
    lacking = sorted(set(names) - {*supported, compiler.PTX})
    if lacking:
        raise BackendUnavailable(
            f"cuda: this NVRTC does not compile for {lacking}; install a newer one "
            "(pip install --upgrade nvidia-cuda-nvrtc), or leave them out"
        )
    return tuple(name for name in known if name in names)
