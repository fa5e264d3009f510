"""`lenet-deploy inspect`: what an artifact is, and whether it would load here."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from lenet_deploy.cache import bundled_artifact
from lenet_deploy.cli.console import plain, print_json, stdout
from lenet_deploy.cli.options import Json
from lenet_runtime import cpu
from lenet_runtime.artifact import Artifact, Manifest, requirements, trust
from lenet_runtime.artifact.graph import messages, protobuf
from lenet_runtime.backends import BACKENDS, backends_of
from lenet_runtime.errors import ArtifactError, BackendUnavailable
from lenet_runtime.formats import FORMATS
from lenet_runtime.parity import ParityReport


def inspect(
    artifact: Annotated[
        Path | None,
        typer.Argument(
            help="The artifact's folder. Default: the bundled one.",
            metavar="ARTIFACT",
            show_default=False,
        ),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Show the manifest, the state of each file, the graph, and whether it would load here.

    Runs nothing from the artifact. Exits 1 if a file does not match the manifest.
    """
    artifact = artifact or bundled_artifact()
    opened, damage = Artifact.examine(artifact)
    states = {name: damage.get(name, "ok") for name in opened.manifest.files}
    report = {
        "path": str(artifact),
        "digest": opened.digest,
        "manifest": dataclasses.asdict(opened.manifest),
        "kernels_here": _kernels_here(opened.manifest),
        "files": states,
        "unlisted": opened.unlisted(),
        "graph": _graph(opened, states),
        "runs_code": opened.manifest.runs_code,
        "needs_trust": _needs_trust(opened, states),
        "loads_here": _loads_here(opened, states),
    }
    if as_json:
        print_json(report)
    else:
        _print(opened, report)
    damaged = [state for state in states.values() if state != "ok"]
    if damaged:
        raise ArtifactError("; ".join(damaged))


def _graph(artifact: Artifact, states: dict[str, str]) -> dict[str, Any] | None:
    """Operators and parameters of an ONNX graph; None for other formats and for other graphs."""
    (name,) = FORMATS["onnx"].files
    if artifact.manifest.format != "onnx" or states.get(name) != "ok":
        return None
    try:
        model = messages.read(artifact.read(name))
    except protobuf.Malformed as error:
        states[name] = f"{artifact.path / name}: expected an ONNX model ({error})"
        return None
    except ValueError:  # which the row on trust explains
        return None
    opset = model["opset_import"]
    return {
        "ir_version": model["ir_version"],
        "opset": {opset.get("domain") or "ai.onnx": opset["version"]},
        "operators": [node["op_type"] for node in model["graph"].get("node", ())],
        "parameters": sum(
            math.prod(tensor.get("dims", ()))
            for tensor in model["graph"].get("initializer", ())
            if tensor["data_type"] == messages.FLOAT  # the shape of a Reshape is none
        ),
        "metadata": {entry["key"]: entry["value"] for entry in model.get("metadata_props", ())},
    }


def _needs_trust(artifact: Artifact, states: dict[str, str]) -> str | None:
    """Why it needs trust; None where it is data, and where its files are damaged."""
    if any(state != "ok" for state in states.values()):
        return None
    return trust.reason(artifact)


def _kernels_here(manifest: Manifest) -> dict[str, str | None]:
    """For each layer, the kernel that this CPU runs; None where that is not known."""
    foreign = manifest.requirements.platform != requirements.this_platform()
    return {
        layer: None if foreign else cpu.kernel(names[1:])
        for layer, names in manifest.kernels.items()
    }


def _loads_here(artifact: Artifact, states: dict[str, str]) -> dict[str, list[str]]:
    """For each backend of the format, what stands in the way; an empty list is a yes."""
    manifest, common = artifact.manifest, []
    if not manifest.parity.comparisons:
        common.append("nobody has proved it: lenet-deploy verify --record does, where it runs")
    elif not manifest.parity.ok:
        common.append("its parity report says it failed")
    common += [state for state in states.values() if state != "ok"]
    answers = {}
    for name in backends_of(manifest.format):
        backend = BACKENDS[name]
        for device in backend.devices:
            if manifest.requirements.device not in ("any", device):
                continue
            reasons = common + requirements.unmet(manifest, backend, device)
            try:
                backend.probe(device)
            except BackendUnavailable as error:
                reasons.append(str(error))
            answers[f"{name} on {device}"] = list(dict.fromkeys(reasons))
    return answers


def _print(artifact: Artifact, report: dict[str, Any]) -> None:
    manifest = artifact.manifest
    table = Table(title=plain(artifact.path), show_header=False)
    table.add_column("", style="bold", overflow="fold")
    table.add_column("", overflow="fold")
    table.add_row("format", plain(f"{manifest.format}, {manifest.precision}"))
    for name, kernel in manifest.kernels.items():
        table.add_row(f"layer {plain(name)}", _kernels(kernel, report["kernels_here"][name]))
    for spec in (*manifest.inputs, *manifest.outputs):
        shape = ", ".join("N" if size is None else str(size) for size in spec.shape)
        table.add_row(plain(spec.name), plain(f"{spec.dtype} ({shape})"))
    table.add_row("preprocessing", _pairs(dataclasses.asdict(manifest.preprocessing)))
    table.add_row("labels", plain(" ".join(manifest.labels)))
    for name, entry in manifest.files.items():
        state = report["files"][name]
        good = f"[green]ok[/] {entry.size} bytes, SHA-256 {plain(entry.sha256[:16])}..."
        table.add_row(plain(name), good if state == "ok" else f"[red]{plain(state)}[/]")
    if unlisted := report["unlisted"]:
        table.add_row("not listed", f"{plain(' '.join(unlisted))} [dim](never read)[/]")
    table.add_row("requirements", _pairs(dataclasses.asdict(manifest.requirements)))
    cores = {name: size for name, size in manifest.tools.items() if name.startswith("cortex-m")}
    tools = {name: text for name, text in manifest.tools.items() if name not in cores}
    table.add_row("made by", _pairs(tools))
    for core, size in cores.items():
        table.add_row(f"on {core}", plain(size))
    table.add_row("weights", plain(manifest.weights_sha256))
    table.add_row("parity", _parity(manifest.parity))
    if graph := report["graph"]:
        table.add_row("operators", plain(" ".join(graph["operators"])))
        opset = _pairs(graph["opset"])
        table.add_row(
            "graph", f"{graph['parameters']:,} parameters, {opset}, IR {graph['ir_version']}"
        )
        table.add_row("metadata", _pairs(graph["metadata"]))
    needs = report["needs_trust"]
    table.add_row("trust", plain(f"--trust, since {needs}") if needs else "data only")
    for name, reasons in report["loads_here"].items():
        table.add_row(f"loads with {name}", plain("; ".join(reasons)) or "[green]yes[/]")
    if not report["loads_here"]:
        table.add_row("loads", "no: no backend of this version runs this format")
    stdout.print(table)


def _kernels(kernel: tuple[str, ...], here: str | None) -> str:
    """The type that a layer computes in, and its kernels, of which one runs on this CPU."""
    names = (f"{plain(n)} [green](here)[/]" if n == here else plain(n) for n in kernel[1:])
    return f"{plain(kernel[0])} {', '.join(names)}"


def _parity(report: ParityReport) -> str:
    if not report.comparisons:
        return "[red]not proven[/]: exported with --no-verify"
    if not report.ok:
        failed = sum(not c.ok for c in report.comparisons)
        return f"[red]failed[/]: {failed} of {len(report.comparisons)} comparisons"
    worst = max(c.worst_share or 0 for c in report.comparisons)
    sizes = ", ".join(map(str, sorted({c.batch_size for c in report.comparisons})))
    return f"at batch sizes {sizes}: at most {worst:.1%} of the tolerance"


def _pairs(values: dict[str, Any]) -> str:
    shown = {k: " ".join(map(str, v)) if isinstance(v, tuple) else v for k, v in values.items()}
    told = {k: v for k, v in shown.items() if v not in (None, "") and v is not False}
    return plain(", ".join(f"{k} {v}" for k, v in told.items()))
