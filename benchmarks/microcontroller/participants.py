"""Who is measured: the peers, each from its own published sources, and our own C."""

from pathlib import Path

from benchmarks.microcontroller.building import HERE, Participant

# Of CMSIS-NN, what an int8 network of convolutions, pooling and dense layers can reach.
_FAMILIES = ("Convolution", "FullyConnected", "NNSupport", "Pooling")
_OTHERS = ("f16", "f32", "_flt", "s4", "depthwise", "lstm", "svdf", "batch_matmul", "transpose_")

_TFLM = (
    "micro/*.cc",
    "micro/arena_allocator/*.cc",
    "micro/memory_planner/*.cc",
    "micro/tflite_bridge/*.cc",
    "micro/kernels/kernel_util.cc",
    "micro/kernels/reshape.cc",
    "micro/kernels/conv_common.cc",
    "micro/kernels/fully_connected_common.cc",
    "micro/kernels/pooling_common.cc",
    "micro/kernels/reshape_common.cc",
    "core/c/common.cc",
    "core/api/*.cc",
    "kernels/kernel_util.cc",
    "kernels/internal/*.cc",
    "../compiler/mlir/lite/schema/schema_utils.cc",
    "../compiler/mlir/lite/core/api/error_reporter.cc",
)
_TESTS = ("_test", "test_", "mock_", "fake_", "recording_", "_compression", "decode", "decompress")
_KERNELS = ("conv.cc", "fully_connected.cc", "pooling.cc")
_TFLM_FLAGS = (
    "-DTF_LITE_STATIC_MEMORY", "-DTF_LITE_STRIP_ERROR_STRINGS", "-DNDEBUG", "-DCMSIS_NN",
    "-DARM_NN_ENABLE_F16=0", "-DARM_NN_ENABLE_F32=0", "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
)  # fmt: skip

# What `lenet_workspace_size` says; `host.c` refuses another.
WORKSPACES = {"int8": 35968, "fp32": 117760}


def nothing(logits: str) -> Participant:
    """No network: what is subtracted from the sizes of others with logits of this type."""
    files = (HERE / "peers/nothing.c",)
    return Participant(f"nothing-{logits}", "nothing", "", files, levels=("-O2",), logits=logits)


def everyone(work: Path, sources: Path) -> tuple[Participant, ...]:
    """All participants, ours first.

    Args:
        work: What `prepare.prepare` filled.
        sources: Folder of the peers' sources, each in a folder of its own.
    """
    return (
        *(_ours(work, precision) for precision in ("int8", "fp32")),
        _cmsis_nn(sources),
        _cmsis_nn_f32(sources),
        _tflm(sources),
        Participant("onnx2c", "onnx2c", "fp32", (HERE / "peers/onnx2c.c",)),
        *(_host(work, precision) for precision in ("int8", "fp32")),
    )


def _ours(work: Path, precision: str) -> Participant:
    folder = work / f"cortex-m-{precision}" / "native-source"
    return Participant(
        f"ours-{precision}", "lenet-deploy, `--target cortex-m`", precision,
        (HERE / "peers/ours.c", folder / "lenet.c"), (folder,),
    )  # fmt: skip


def _host(work: Path, precision: str) -> Participant:
    folder = work / f"host-{precision}" / "native-source"
    return Participant(
        f"host-{precision}", "lenet-deploy, `--target host`, its plain C", precision,
        (HERE / "peers/host.c", folder / "lenet.c"), (folder,),
        ("-DLENET_PLAIN_C", f"-DWORKSPACE={WORKSPACES[precision]}"),
    )  # fmt: skip


def _cmsis_nn(sources: Path) -> Participant:
    """Arm's kernels, called by hand."""
    return Participant(
        "cmsis-nn", "CMSIS-NN, called by hand", "int8", (HERE / "peers/cmsis_nn.c",),
        _headers(sources), uses=(_arm(sources),), logits="int8_t",
    )  # fmt: skip


def _cmsis_nn_f32(sources: Path) -> Participant:
    files = sorted(
        path
        for family in _FAMILIES
        for path in (sources / "cmsis-nn/Source" / f"{family}Functions").glob("*_f32.c")
        if not any(word in path.name for word in _OTHERS[4:])
    )
    flags = (
        "-DARM_NN_ENABLE_F32=1", "-DARM_NN_ENABLE_F16=0",
        f"-include{HERE / 'peers/gcc12_mve.h'}",
    )  # fmt: skip
    library = Participant("arm-f32", "", "fp32", tuple(files), _headers(sources), flags)
    return Participant(
        "cmsis-nn-f32", "CMSIS-NN, called by hand", "fp32", (HERE / "peers/cmsis_nn_f32.c",),
        _headers(sources), (*flags, f"-DPATCHES={8 * 54 * 4}"), (library,),
    )  # fmt: skip


def _tflm(sources: Path) -> Participant:
    """TensorFlow Lite Micro with Arm's kernels, at the levels of its own Makefile."""
    lite = sources / "tflite-micro/tensorflow/lite"
    files = (
        path
        for pattern in _TFLM
        for path in sorted(lite.glob(pattern))
        if not any(word in path.name for word in _TESTS)
    )
    names = ("tflite-micro", "flatbuffers/include", "gemmlowp", "ruy", "cmsis-nn", "cmsis-6")
    folders = (*(sources / name for name in names), *_headers(sources))
    core = Participant("tflm-core", "", "int8", tuple(files), folders, _TFLM_FLAGS, levels=("-Os",))
    kernels = (lite / "micro/kernels/cmsis_nn" / name for name in _KERNELS)
    return Participant(
        "tflm", "TensorFlow Lite Micro, CMSIS-NN kernels", "int8",
        (HERE / "peers/tflm.cc", *kernels), folders,
        _TFLM_FLAGS, (core, _arm(sources)), ("-O2",), "int8_t",
    )  # fmt: skip


def _headers(sources: Path) -> tuple[Path, ...]:
    return sources / "cmsis-nn/Include", sources / "cmsis-6/CMSIS/Core/Include"


def _arm(sources: Path) -> Participant:
    files = sorted(
        path
        for family in _FAMILIES
        for path in (sources / "cmsis-nn/Source" / f"{family}Functions").glob("*.c")
        if not any(word in path.name for word in _OTHERS)
    )
    return Participant("arm", "", "int8", tuple(files), _headers(sources))
