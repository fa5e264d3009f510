"""`lenet-deploy inspect`: what an artifact is, and whether it would load here."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from lenet_deploy.cli.console import print_json, stdout
from lenet_deploy.cli.options import Json
from lenet_runtime import requirements
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import ArtifactError, BackendUnavailable


def inspect(
    artifact: Annotated[Path, typer.Argument(help="The artifact's folder.", metavar="ARTIFACT")],
    *,
    as_json: Json = False,
) -> None:
    """Show the manifest, the state of each file, the graph, and whether it would load here.

    Runs nothing from the artifact. Exits 1 if a file does not match the manifest.
    """
    opened = Artifact.open(artifact)
    states = {name: _state(opened, name) for name in opened.manifest.files}
    report = {
        "path": str(artifact),
        "digest": opened.digest,
        "manifest": dataclasses.asdict(opened.manifest),
        "files": states,
        "graph": _graph(opened, states),
        "runs_code": opened.manifest.runs_code,
        "loads_here": _loads_here(opened, states),
    }
    if as_json:
        print_json(report)
    else:
        _print(opened, report)
    damaged = [state for state in states.values() if state != "ok"]
    if damaged:
        raise ArtifactError("; ".join(damaged))


def _state(artifact: Artifact, name: str) -> str:
    try:
        artifact.read(name)
    except ArtifactError as error:
        return str(error)
    return "ok"


def _graph(artifact: Artifact, states: dict[str, str]) -> dict[str, Any] | None:
    """Operators and parameters of an ONNX graph; None for other formats, or without onnx."""
    if artifact.manifest.format != "onnx" or states.get("model.onnx") != "ok":
        return None
    try:
        import onnx
    except ImportError:
        return None
    model = onnx.ModelProto.FromString(artifact.read("model.onnx"))
    return {
        "ir_version": model.ir_version,
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "operators": [node.op_type for node in model.graph.node],
        "parameters": sum(_elements(tensor.dims) for tensor in model.graph.initializer),
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
    }


def _elements(dims: Any) -> int:
    count = 1
    for dim in dims:
        count *= dim
    return count


def _loads_here(artifact: Artifact, states: dict[str, str]) -> dict[str, list[str]]:
    """For each backend of the format, what stands in the way; an empty list is a yes."""
    common = requirements.unmet(artifact.manifest)
    common += [state for state in states.values() if state != "ok"]
    answers = {}
    for name, backend in BACKENDS.items():
        if backend.format == artifact.manifest.format:
            try:
                backend.probe("cpu")
            except BackendUnavailable as error:
                answers[name] = [*common, str(error)]
            else:
                answers[name] = common
    return answers


def _print(artifact: Artifact, report: dict[str, Any]) -> None:
    manifest = artifact.manifest
    table = Table(title=str(artifact.path), show_header=False)
    table.add_column("", style="bold")
    table.add_column("", overflow="fold")
    table.add_row("format", f"{manifest.format}, {manifest.precision}")
    for spec in (*manifest.inputs, *manifest.outputs):
        shape = ", ".join("N" if size is None else str(size) for size in spec.shape)
        table.add_row(spec.name, f"{spec.dtype} ({shape})")
    table.add_row("preprocessing", _pairs(dataclasses.asdict(manifest.preprocessing)))
    table.add_row("labels", " ".join(manifest.labels))
    for name, entry in manifest.files.items():
        state = report["files"][name]
        good = f"[green]ok[/] {entry.size} bytes, SHA-256 {entry.sha256[:16]}..."
        table.add_row(name, good if state == "ok" else f"[red]{state}[/]")
    table.add_row("requirements", _pairs(dataclasses.asdict(manifest.requirements)))
    table.add_row("made by", _pairs(manifest.tools))
    table.add_row("weights", manifest.weights_sha256)
    worst = max(c.worst_share or 0 for c in manifest.parity.comparisons)
    sizes = sorted({c.batch_size for c in manifest.parity.comparisons})
    table.add_row("parity", f"at batch sizes {sizes}: at most {worst:.1%} of the tolerance")
    if report["graph"]:
        table.add_row("graph", _pairs(report["graph"]))
    table.add_row("trust", "runs code when loaded: --trust" if manifest.runs_code else "data only")
    for name, reasons in report["loads_here"].items():
        table.add_row(f"loads on {name}", "; ".join(reasons) or "[green]yes[/]")
    stdout.print(table)


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value not in (None, ()))
