"""Run by .ci/run in an environment with the wheel's `gpu` extra, on a machine without a GPU.

The real onnxruntime-gpu, asked for CUDA, runs on the CPU there. This proves that ours does not.
Its arguments are an ONNX artifact and the ``lenet-deploy`` of this environment.
"""

import ctypes
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

import lenet_runtime
import lenet_runtime.artifact
import lenet_runtime.cuda
from lenet_runtime.backends import BACKENDS
from lenet_runtime.backends.ort import libraries
from lenet_runtime.errors import BackendUnavailable
from lenet_runtime.images.digits import load_digits
from lenet_runtime.version import pip_install

CUDA = "CUDAExecutionProvider"
onnxruntime.set_default_logger_severity(4)  # what it tells on stderr when it falls back


def refusal(call: Callable[[], object]) -> str:
    """What `call` says when it raises `BackendUnavailable`; anything else is a failure."""
    try:
        call()
    except BackendUnavailable as error:
        return str(error)
    raise AssertionError("expected BackendUnavailable, and it was loaded")


def bare_falls_back(artifact: Path) -> None:
    """Why all this is needed. If it ever fails, ONNX Runtime has become strict itself."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    bare = onnxruntime.InferenceSession(
        (artifact / "model.onnx").read_bytes(), options, providers=[CUDA]
    )
    assert bare.get_providers() == ["CPUExecutionProvider"], bare.get_providers()
    assert CUDA in onnxruntime.get_available_providers()


def missing() -> list[str]:
    """What the CUDA provider lacks here, found in another way than `libraries` does."""
    major = onnxruntime.cuda_version.split(".")[0]
    names = (f"libcublas.so.{major}", f"libcublasLt.so.{major}", "libcurand.so.10", "libcudnn.so.9")
    absent = []
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            absent.append(name)
    return absent


def ours_does_not(artifact: Path) -> None:
    """Nor by name, nor by ``auto``; and the reasons can be acted on."""
    said = refusal(lambda: lenet_runtime.load(artifact, backend="ort-cuda", device="cuda"))
    absent = missing()
    assert all(name in said for name in absent), said
    assert ("pip install 'onnxruntime-gpu[cuda,cudnn]'" in said) == bool(absent), said
    assert "no NVIDIA driver" in said or "CUDA cannot be used here" in said, said
    said = refusal(lambda: lenet_runtime.load(artifact, backend="ort-tensorrt", device="cuda:0"))
    assert "libnvinfer.so.10" in said, said
    assert pip_install("ort-tensorrt") in said, said
    said = refusal(lambda: lenet_runtime.load(artifact, device="cuda"))
    assert "ort-cuda: " in said, said
    assert "ort-tensorrt: " in said, said


def nor_where_the_probe_is_mistaken(artifact: Path) -> None:
    """The second line: what ONNX Runtime made is compared with what was asked for.

    The probe and the driver are replaced, as if all were well; the provider is the real one.
    """
    from lenet_runtime.backends.ort import core, ort_cuda, strict

    opened = lenet_runtime.artifact.Artifact.open(artifact)
    options = ort_cuda.options(None)
    said = refusal(lambda: core.session(opened, options, [(CUDA, {"device_id": "0"})]))
    assert "fallback to CPU EP has been explicitly disabled" in said, said
    options = core.options(1)  # without that option, ONNX Runtime falls back
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    fallen = core.session(opened, options, [(CUDA, {})])
    said = refusal(lambda: strict.check("ort-cuda", fallen, CUDA, {}))
    assert "found ['CPUExecutionProvider']" in said, said
    fallen.get_providers = lambda: [CUDA, "CPUExecutionProvider"]
    said = refusal(lambda: strict.check("ort-cuda", fallen, CUDA, {}))
    assert "node_conv2d (Conv) on CPUExecutionProvider" in said, said


def tensorrt_understands_our_options(artifact: Path) -> None:
    """It parses them before it loads TensorRT; only its plugins, which come first, need that."""
    from onnxruntime.capi import _pybind_state

    from lenet_runtime.backends.ort import ort_tensorrt

    opened = lenet_runtime.artifact.Artifact.open(artifact)
    good = ort_tensorrt.settings(opened, 0, 4660, Path("/nowhere"))
    _pybind_state.register_tensorrt_plugins_as_custom_ops = lambda options, settings: None

    def said(settings: dict[str, str]) -> str:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        providers = [(ort_tensorrt.PROVIDER, settings)]
        data = (artifact / "model.onnx").read_bytes()
        try:
            onnxruntime.InferenceSession(data, options, providers=providers, enable_fallback=0)
        except RuntimeError as error:
            return str(error)
        return ""

    assert "Invalid TensorRT EP option: no_such_option" in said({**good, "no_such_option": "1"})
    assert "should be 'True' or 'False'" in said({**good, "trt_fp16_enable": "0"})
    assert not said(good), said(good)


def the_command_line_exits_4(artifact: Path, command: str) -> None:
    """And prints a reason, no traceback, nothing on stdout."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [command, "predict", "--artifact", artifact, "--digits", "3", "--device", "cuda"],
            capture_output=True, text=True, check=False, env={**os.environ, "HOME": folder},
        )  # fmt: skip
    assert done.returncode == 4, done
    assert "Traceback" not in done.stderr, done.stderr
    assert "ort-cuda: " in done.stderr, done.stderr
    assert not done.stdout, done.stdout
    done = subprocess.run([command, "doctor", "--json"], capture_output=True, text=True, check=True)
    state = json.loads(done.stdout)["backends"]["ort-cuda on cuda"]
    assert not state["available"]
    assert all(name in state["reason"] for name in missing()), state


def the_cpu_still_works(artifact: Path) -> None:
    """`ort-cpu` takes onnxruntime-gpu as well."""
    digits = load_digits()
    with lenet_runtime.load(artifact, device="cpu") as session:
        assert session.backend == "ort-cpu"
        right = int(np.sum(session.predict(digits.images).labels == digits.labels))
    assert right >= len(digits.labels) - 1, right


def the_real_files_are_read() -> None:
    """The providers say what they need; this is what the probe goes by."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    needs = libraries.needed(folder / "libonnxruntime_providers_cuda.so")
    assert {"libcuda.so.1", "libc.so.6"} < set(needs), needs
    assert any(name.startswith("libcublas.so.") for name in needs), needs
    needs = libraries.needed(folder / "libonnxruntime_providers_tensorrt.so")
    assert "libnvinfer.so.10" in needs, f"README and the extra say TensorRT 10, found {needs}"


if __name__ == "__main__":
    artifact, command = Path(sys.argv[1]), sys.argv[2]
    version = importlib.metadata.version("onnxruntime-gpu")
    assert BACKENDS["ort-cuda"].version() == version
    try:
        lenet_runtime.cuda.gpu(0)
    except BackendUnavailable:
        bare_falls_back(artifact)
        ours_does_not(artifact)
        nor_where_the_probe_is_mistaken(artifact)
        tensorrt_understands_our_options(artifact)
        the_command_line_exits_4(artifact, command)
    else:
        print("This machine has a GPU; what happens without one is not tried.")
    the_real_files_are_read()
    the_cpu_still_works(artifact)
    print(f"onnxruntime-gpu {version}: no silent fallback, and the CPU works.")
