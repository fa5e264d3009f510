"""Writes what the participants are built from: digits, weights and generated C."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.microcontroller.building import HERE, plugin, run
from lenet_deploy.training.checkpoint import load_checkpoint
from lenet_export.network.quantize import calibration_digits
from lenet_export.network.steps import Array
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing

_SOURCES = ("cmsis-nn", "cmsis-6", "tflite-micro", "flatbuffers", "gemmlowp", "ruy", "onnx2c")


@dataclass(frozen=True)
class Tools:
    """Where the peers' tools are.

    Attributes:
        sources: Folder of the peers' sources, each in a folder of its own, and its commit's hash
            in the file NAME.commit.
        tensorflow: Python with TensorFlow.
        onnx2c: onnx2c's program.
    """

    sources: Path
    tensorflow: Path
    onnx2c: Path

    def versions(self) -> dict[str, str]:
        """What is measured, by name."""
        commits = {name: (self.sources / f"{name}.commit").read_text().strip() for name in _SOURCES}
        first = {
            name: run([name, "--version"]).splitlines()[0]
            for name in ("arm-none-eabi-gcc", "qemu-system-arm")
        }
        tensorflow = run([
            self.tensorflow, "-c", "from importlib.metadata import version as v\n"
            "print(v('tensorflow-cpu'))",
        ])  # fmt: skip
        return first | {"tensorflow-cpu": tensorflow.strip()} | commits


def prepare(work: Path, tools: Tools) -> dict[str, str]:
    """Fill `work`; answers what the converters said."""
    work.mkdir(parents=True, exist_ok=True)
    plugin(work)
    digits = load_digits()
    (work / "digits.h").write_text(
        f"#define DIGITS {len(digits.images)}\n" + _array("uint8_t", "digits[][784]", digits.images)
    )
    weights = {name: part.detach().numpy() for name, part in load_checkpoint().named_parameters()}
    np.savez(
        work / "network.npz", **weights, digits=digits.images, labels=digits.labels,
        calibration=calibration_digits(),
    )  # fmt: skip
    (work / "network_f32.h").write_text("".join(_floats(weights)))
    said = {"tflite": _tflite(work, tools)}
    for target in ("cortex-m", "host"):
        for precision in ("int8", "fp32"):
            _export(work / f"{target}-{precision}", target, precision)
    _onnx2c(work, tools)
    return said


def _array(kind: str, declaration: str, values: NDArray[np.uint8]) -> str:
    rows = (",".join(map(str, row.ravel())) for row in values)
    return f"static const {kind} {declaration} = {{\n{{" + "},\n{".join(rows) + "}};\n"


def _floats(weights: dict[str, Array]) -> Iterator[str]:
    """What CMSIS-NN takes: channels last, and conv1 of pixels ``/ 255``."""
    pixels = Preprocessing()
    for name in ("conv1", "conv2", "fc1", "fc2", "fc3"):
        weight, bias = (weights[f"{name}.{part}"].astype(float) for part in ("weight", "bias"))
        if name == "conv1":
            bias = bias - weight.sum(axis=(1, 2, 3)) * pixels.mean / pixels.std
            weight = weight / pixels.std
        if name == "fc1":
            weight = weight.reshape(120, 16, 6, 6)
        if weight.ndim == 4:
            weight = weight.transpose(0, 2, 3, 1)
        for part, values in (("weight", weight), ("bias", bias)):
            numbers = ",".join(float(np.float32(value)).hex() + "f" for value in values.ravel())
            yield f"static const float {name}_{part}[] = {{{numbers}}};\n"


def _tflite(work: Path, tools: Tools) -> str:
    said = run(
        [tools.tensorflow, HERE / "tflite.py", work / "network.npz", work / "network.tflite"]
    )
    (work / "network.h").write_text((work / "network.tflite.h").read_text())
    model = ",".join(map(str, (work / "network.tflite").read_bytes()))
    (work / "model.h").write_text(f"alignas(16) static const uint8_t model[] = {{{model}}};\n")
    return next(line for line in said.splitlines() if " right, " in line)


def _export(folder: Path, target: str, precision: str) -> None:
    run([
        sys.executable, "-m", "lenet_deploy", "export", "--format", "native", "--target", target,
        "--precision", precision, "--source-only", "--output", folder, "--force", "--quiet",
    ])  # fmt: skip


def _onnx2c(work: Path, tools: Tools) -> None:
    """Generated from our ONNX file, less two attributes that have their default's effect."""
    path = work / "network.onnx"
    run([
        sys.executable, "-m", "lenet_deploy", "export", "--format", "onnx", "--static-batch", "1",
        "--batch-sizes", "1", "--output", path, "--force", "--quiet",
    ])  # fmt: skip
    model = onnx.load(path)
    for node in model.graph.node:
        for attribute in list(node.attribute):
            if attribute.name in ("storage_order", "allowzero"):  # onnx2c refuses both
                node.attribute.remove(attribute)
    onnx.save(model, path)
    (work / "onnx2c_network.h").write_text(run([tools.onnx2c, "-l0", path]))


def rights(logits: tuple[bytes, ...], dtype: str) -> int:
    """Digits whose largest logit is their label's."""
    answers = [int(np.frombuffer(row, dtype).argmax()) for row in logits]
    return int((np.array(answers) == load_digits().labels).sum())


def write_json(path: Path, document: object) -> None:
    """Write a result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
