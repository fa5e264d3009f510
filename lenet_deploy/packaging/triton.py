"""A model repository for NVIDIA's Triton: ``NAME/config.pbtxt``, and the artifact as version 1.

The version's folder is the artifact as it was exported, and beside its files what a backend of
Triton needs. So `lenet-deploy serve` serves the same repository, and a new export is a version 2.
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from lenet_deploy.packaging.target import TEMPLATES, Package, Target, filled
from lenet_export import compiler
from lenet_runtime import __version__
from lenet_runtime.artifact import Manifest
from lenet_runtime.errors import (
    ArtifactError,
    BackendUnavailable,
    InputError,
    expected_one_of,
    printable,
)
from lenet_runtime.formats import FORMATS, Option

MAX_BATCH = 1024  # images; as many as the default profile of a TensorRT engine takes
LIBRARY = "libtriton_lenet.so"
_HIDDEN = "-fvisibility=hidden"  # other models in the same server have functions of these names
_SOURCES = ("triton_backend.c", "triton_backend.h")
_ENVIRONMENT = 'parameters: {{ key: "EXECUTION_ENV_PATH" value: {{ string_value: {} }} }}'
# The formats that a backend of Triton other than python runs.
_FLAVOURS = {"native": "native", "onnx": "onnxruntime", "tensorrt": "tensorrt"}
Parts = tuple[dict[str, bytes], bytes]  # files beside the artifact's, and the end of config.pbtxt


def _files(package: Package) -> Mapping[str, bytes]:
    flavour, model, version = _flavour(package), package.name, f"{package.name}/1"
    beside, end = _PARTS[flavour](package)
    labels = (printable(label, keep="") for label in package.artifact.manifest.labels)
    return {
        f"{model}/config.pbtxt": _config(package, flavour) + end,
        f"{model}/labels.txt": "".join(f"{label}\n" for label in labels).encode(),
        **package.artifact_files(version),
        **{f"{version}/{name}": data for name, data in beside.items()},
    }


def _flavour(package: Package) -> str:
    """What runs the artifact: the one that was asked for, else the backend of its own format."""
    kind = package.artifact.manifest.format
    flavours = [*filter(None, [_FLAVOURS.get(kind)]), "python"]
    flavour = package.options.get("flavour") or flavours[0]
    if flavour not in flavours:
        raise InputError(f"flavour: of {kind!r} artifacts {expected_one_of(flavours, flavour)}")
    return flavour


def _config(package: Package, flavour: str) -> bytes:
    """What config.pbtxt says of the model, whatever runs it."""
    manifest = package.artifact.manifest
    (images,), (answers,), size = manifest.inputs, manifest.outputs, manifest.batch_size
    profile = manifest.requirements.profile
    most = {"MAX_BATCH": str(profile[2] if profile else MAX_BATCH), "BATCH_SIZE": str(size)}
    batch = filled(f"triton/{'static' if size else 'dynamic'}_batch.pbtxt", most)
    # Of a fixed batch Triton would rank the classes of all its images as one image's.
    labels = ' label_filename: "labels.txt"' if size in (None, 1) else ""
    values = {
        "VERSION": __version__, "FORMAT": manifest.format, "PRECISION": manifest.precision,
        "NAME": package.name, "BACKEND": "lenet" if flavour == "native" else flavour,
        "INPUT": images.name, "INPUT_DIMS": _dims(images.shape), "OUTPUT": answers.name,
        "OUTPUT_DIMS": _dims(answers.shape), "LABELS": labels, "BATCH": batch.decode().strip(),
        "KIND": "KIND_GPU" if manifest.requirements.device == "cuda" else "KIND_CPU",
    }  # fmt: skip
    return filled("triton/config.pbtxt", values)


def _dims(shape: tuple[int | None, ...]) -> str:
    """A tensor's dimensions, without the batch where it is dynamic: Triton adds that one."""
    return ", ".join(str(size) for size in shape if size is not None)


def _native(package: Package) -> Parts:
    """Our C as a backend of Triton."""
    try:
        c_compiler = compiler.find()
    except BackendUnavailable as error:
        raise BackendUnavailable(
            "triton: expected a C compiler to make the backend with, found none; install gcc "
            "(Debian: apt install gcc) or set CC; or pass flavour='python', which needs none"
        ) from error
    network = {name: package.artifact.read(name).decode() for name in ("lenet.c", "lenet.h")}
    sources = _backend_sources(network["lenet.h"], str(package.artifact.path))
    library = compiler.build_library(c_compiler, network | sources, LIBRARY, _HIDDEN)
    flags = [flag for flag in compiler.FLAGS if not flag.startswith("-W")]
    words = ["gcc", *flags, "-shared", _HIDDEN, "-o", LIBRARY, "lenet.c", _SOURCES[0]]
    values = {
        "COMPILER": f"{c_compiler.name} {c_compiler.version}", "COMMAND": shlex.join(words),
    }  # fmt: skip
    beside = {LIBRARY: library} | {name: text.encode() for name, text in sources.items()}
    return beside, filled("triton/native.pbtxt", values)


def _backend_sources(header: str, where: str) -> dict[str, str]:
    """The backend's C by name, for a network whose names begin as in `header`."""
    match = re.search(r"^size_t (\w+)_workspace_size\(void\);", header, re.MULTILINE)
    if match is None:
        raise ArtifactError(f"{where}: lenet.h is of another version; export the artifact again")
    prefix, sources = match[1], {}
    for name in _SOURCES:
        text = (TEMPLATES / "triton" / name).read_text()
        text = re.sub(r"\blenet_", f"{prefix}_", text)
        sources[name] = re.sub(r"\bLENET_", f"{prefix.upper()}_", text)
    return sources


def _python(package: Package) -> Parts:
    """Our runtime behind Triton's python backend."""
    path = package.options.get("environment")
    manifest = package.artifact.manifest
    line = _ENVIRONMENT.format(json.dumps(path or "/opt/lenet", ensure_ascii=False))
    values = {
        "ENVIRONMENT": line if path else f"#   {line}",
        "TRUST": str(manifest.runs_code).lower(),
    }
    model = (TEMPLATES / "triton" / "model.py").read_bytes()
    return {"model.py": model}, filled("triton/python.pbtxt", values)


def _onnxruntime(package: Package) -> Parts:
    """ONNX Runtime's own backend; it looks for model.onnx, as the artifact's file is called."""
    return {}, filled("triton/onnxruntime.pbtxt", {})


def _tensorrt(package: Package) -> Parts:
    """TensorRT's own backend, which is told the engine's name."""
    manifest = package.artifact.manifest
    needs = manifest.requirements
    if needs.engine != "tensorrt":
        raise InputError(
            f"triton: expected an engine of tensorrt, found one of {needs.engine}, which no "
            "backend of Triton loads; export with library='tensorrt', or pass flavour='python'"
        )
    _check_profile(manifest)
    values = {
        "ENGINE_VERSION": needs.engine_version, "ENGINE": FORMATS["tensorrt"].files[0],
        "CAPABILITY": ", ".join(map(str, needs.compute_capability)),
    }  # fmt: skip
    return {}, filled("triton/tensorrt.pbtxt", values)


def _check_profile(manifest: Manifest) -> None:
    """Refuse an engine that cannot run what Triton may send."""
    profile = manifest.requirements.profile
    if manifest.batch_size is None and profile and profile[0] > 1:
        raise InputError(
            f"triton: expected an engine for batches of 1 and more, which Triton makes of single "
            f"requests, found one for {profile[0]} and more; export with profile='1:...'"
        )


_PARTS: dict[str, Callable[[Package], Parts]] = {
    "native": _native, "python": _python, "onnxruntime": _onnxruntime, "tensorrt": _tensorrt,
}  # fmt: skip
_OPTIONS = (
    Option(
        "flavour", "--flavour", "What runs it in Triton: native (our C as a backend), onnxruntime, "
        "tensorrt, or python (our runtime). Default: by the artifact's format.", "NAME",
        values=tuple(_PARTS),
    ),
    Option(
        "environment", "--environment", "Of the flavour python: the environment, on Triton's "
        "machine, that has lenet-deploy. Default: the Python of Triton's image.", "DIR",
    ),
)  # fmt: skip


def _steps(package: Package, folder: Path) -> tuple[str, ...]:
    return (f"tritonserver --model-repository={folder}",)


TARGET = Target("triton", "a model repository for NVIDIA's Triton", _files, _OPTIONS, _steps)
