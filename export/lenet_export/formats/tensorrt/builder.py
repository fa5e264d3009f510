"""Builds one TensorRT engine, in a process of its own: ``python builder.py FOLDER``.

A build that fails leaves TensorRT-RTX in a state that makes the next engine of the same process
another one, so no process builds twice; nor does a compiler that crashes take the exporter along.

FOLDER holds ``model.onnx`` and ``job.json``, with the keys ``module``, ``profile``, ``tf32``,
``image_shape`` and ``capabilities`` (``8.6``; of TensorRT-RTX alone, for TensorRT builds for the
GPU it runs on). ``report.json`` is written into it, and ``model.engine`` if the build succeeded.
Nothing of ours is imported, so that this starts at once.
"""

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

INPUT = "images"
_LAST_ERRORS = 5


def make_logger(trt: Any) -> Any:
    """A logger that keeps what TensorRT says: ``errors`` and the text of the layers."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.layers = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)
            elif message.startswith("Layers:"):
                self.layers = message

    return Logger()


def build(trt: Any, graph: bytes, job: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The report, and the engine's bytes or None."""
    logger = make_logger(trt)
    report: dict[str, Any] = {"version": trt.__version__, "capabilities": capabilities(trt)}

    def failed(stage: str, reasons: list[str]) -> tuple[dict[str, Any], None]:
        words = [text.strip() for text in [*reasons, *logger.errors[-_LAST_ERRORS:]]]
        return report | {"failed": stage, "errors": list(dict.fromkeys(words))}, None

    wanted = job["capabilities"]
    if not set(wanted) <= set(report["capabilities"]):
        return failed("capability", [])
    builder = trt.Builder(logger)
    network = builder.create_network(strongly_typed(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        return failed(
            "parse", [f"{e.node_name()} ({e.node_operator()}): {e.desc()}" for e in errors]
        )
    config = configure(trt, builder, job)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return failed("build", [])
    engine = bytes(plan)
    report["layers"] = logger.layers or inspect(trt, logger, engine)
    report["tf32"] = config.get_flag(trt.BuilderFlag.TF32)
    return report, engine


def strongly_typed(trt: Any) -> int:
    """Flags of a network whose types are the graph's; from TensorRT 11 on every one is such."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def capabilities(trt: Any) -> list[str]:
    """Compute capabilities that it can be told to build for; none where it is told none."""
    kinds = getattr(getattr(trt, "ComputeCapability", None), "__members__", {})
    found = [match for match in (re.fullmatch(r"SM(\d+)(\d)", name) for name in kinds) if match]
    return sorted((f"{match[1]}.{match[2]}" for match in found), key=float)


def configure(trt: Any, builder: Any, job: dict[str, Any]) -> Any:
    """How to build. STRIP_PLAN and REFIT are never asked for: neither can be built without a GPU,
    and the weights of one network are what an engine is for."""
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # for the attestation
    if job["tf32"]:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)  # it is on by default
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)  # RTX: for CUDA graphs
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, *((size, *job["image_shape"]) for size in job["profile"]))
    config.add_optimization_profile(profile)
    if job["capabilities"]:
        config.num_compute_capabilities = len(job["capabilities"])
        for index, name in enumerate(job["capabilities"]):
            kind = getattr(trt.ComputeCapability, "SM" + name.replace(".", ""))
            config.set_compute_capability(kind, index)
    return config


def inspect(trt: Any, logger: Any, engine: bytes) -> str:
    """What the engine inspector tells, on a GPU; for a TensorRT that does not log it."""
    loaded = trt.Runtime(logger).deserialize_cuda_engine(engine)
    if loaded is None:
        return ""
    text: str = loaded.create_engine_inspector().get_engine_information(
        trt.LayerInformationFormat.ONELINE
    )
    return text


def main(folder: Path) -> None:
    """See the module."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    try:
        trt = importlib.import_module(job["module"])
    except Exception as error:  # its own loader raises whatever it likes
        report, engine = {"version": "", "failed": "import", "errors": [repr(error)]}, None
    else:
        report, engine = build(trt, (folder / "model.onnx").read_bytes(), job)
    if engine is not None:
        (folder / "model.engine").write_bytes(engine)
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
