"""A model's metadata and configuration, as the protocol and Triton write them."""

from typing import Any

from lenet_runtime.artifact import Manifest
from lenet_serve import inputs, outputs
from lenet_serve.limits import Limits

# What Triton calls the settings of its traces and of its log. Nothing changes them here.
TRACE: dict[str, str | list[str]] = {
    "trace_level": ["OFF"], "trace_rate": "1000", "trace_count": "-1", "log_frequency": "0",
    "trace_file": "", "trace_mode": "triton",
}  # fmt: skip
LOGGING: dict[str, str | int | bool] = {
    "log_file": "", "log_info": True, "log_warning": True, "log_error": True,
    "log_verbose_level": 0, "log_format": "default",
}  # fmt: skip


def metadata(name: str, versions: list[str], manifest: Manifest) -> dict[str, Any]:
    """V2's metadata of a model; -1 stands for any number of images.

    A request sends exactly one of the inputs. The first is the one for clients that do not choose.
    """
    batch = manifest.batch_size or -1
    taken = [
        {"name": own, "datatype": inputs.DATATYPES[own], "shape": [batch, *shape]}
        for own, shape in inputs.shapes(manifest).items()
    ]
    answered = [
        {"name": own, "datatype": datatype, "shape": [batch, *_classes(manifest, datatype)]}
        for own, datatype in outputs.datatypes(manifest).items()
    ]
    return {
        "name": name, "versions": versions, "platform": platform(manifest),
        "inputs": taken, "outputs": answered,
    }  # fmt: skip


def config(name: str, max_batch: int, manifest: Manifest, limits: Limits) -> dict[str, Any]:
    """Triton's ModelConfig as JSON, as far as it says something of this server.

    Args:
        name: The model's name.
        max_batch: Images of several requests that are computed together.
        manifest: What the artifact is.
        limits: How many images a request may have, and how many may wait.
    """
    batch = manifest.batch_size
    taken = [
        {
            "name": own, "data_type": f"TYPE_{_type(inputs.DATATYPES[own])}",
            "format": "FORMAT_NONE", "optional": own != inputs.IMAGES, **_dims(batch, shape),
        }
        for own, shape in inputs.shapes(manifest).items()
    ]  # fmt: skip
    answered = [
        {
            "name": own, "data_type": f"TYPE_{_type(datatype)}", "label_filename": "",
            **_dims(batch, _classes(manifest, datatype)),
        }
        for own, datatype in outputs.datatypes(manifest).items()
    ]  # fmt: skip
    cuda = manifest.requirements.device == "cuda"
    document: dict[str, Any] = {
        "name": name, "platform": platform(manifest), "backend": "lenet", "runtime": "",
        "version_policy": {"all": {}}, "max_batch_size": 0 if batch else limits.rows,
        "input": taken, "output": answered,
        "instance_group": [
            {"name": name, "kind": "KIND_GPU" if cuda else "KIND_CPU", "count": 1, "gpus": []}
        ],
        "default_model_filename": "", "metric_tags": {}, "model_warmup": [],
        "parameters": {
            key: {"string_value": getattr(manifest, key)}
            for key in ("format", "precision", "weights_sha256")
        },
    }  # fmt: skip
    if max_batch > 1:
        document["dynamic_batching"] = {
            "preferred_batch_size": [max_batch], "max_queue_delay_microseconds": 0,
            "default_queue_policy": {
                "timeout_action": "REJECT", "allow_timeout_override": True, "max_queue_size": 0,
            },
        }  # fmt: skip
    return document


def platform(manifest: Manifest) -> str:
    """What the protocol calls the framework, ``<project>_<format>``."""
    return f"lenet_{manifest.format.replace('-', '_')}"


def _classes(manifest: Manifest, datatype: str) -> tuple[int, ...]:
    return () if datatype == "BYTES" else (manifest.classes,)


def _type(datatype: str) -> str:
    return "STRING" if datatype == "BYTES" else datatype


def _dims(batch: int | None, shape: tuple[int, ...]) -> dict[str, Any]:
    """The dimensions: without the batch, unless it is fixed; Triton has none without a number."""
    if batch:
        return {"dims": [batch, *shape]}
    return {"dims": list(shape)} if shape else {"dims": [1], "reshape": {"shape": []}}
