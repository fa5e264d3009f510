"""Who takes part in `lenet-deploy bench`: artifacts on backends, ONNX files, and eager PyTorch."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lenet_runtime
from lenet_bench.field import EAGER, Contender, Field, Network
from lenet_bench.harness import require_timed
from lenet_bench.report import engine_name
from lenet_deploy.cache import default_artifact
from lenet_runtime import cuda, devices
from lenet_runtime.artifact import MANIFEST_NAME, Artifact
from lenet_runtime.backends import BACKENDS, backends_of, kinds_of, none_runs
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError
from lenet_runtime.formats import FORMATS
from lenet_runtime.plans.plan import PLAN_NAME, artifacts_in

if TYPE_CHECKING:
    from lenet_deploy.training.checkpoint import Loaded

Step = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What is to take part.

    Attributes:
        paths: Folders of artifacts, folders of such folders, and ONNX files; none for the network
            in every format, exported where it is missing.
        backends: Keys of `lenet_runtime.BACKENDS`; ``auto`` for all that run the format.
        device: The device of every engine.
        threads: Numbers of threads; each engine takes part once for each number.
        trust: Allow what was named to run code; what the toolkit made itself is trusted.
        loads: Loads the network of --checkpoint; None for the bundled one.
    """

    paths: Sequence[Path]
    backends: Sequence[str]
    device: str
    threads: Sequence[int]
    trust: bool
    loads: "Callable[[], Loaded] | None" = None


def gather(request: Request, stack: ExitStack, step: Step) -> Field:
    """Load everything that takes part; sessions are closed by `stack`, and `step` told of each.

    Raises:
        BackendUnavailable: There is no such GPU, or no engine can be timed on it.
        InputError: What was named takes images of different shapes.
        DeployError: An artifact that was named cannot be loaded. Of those in a folder, and of the
            bundled ones, those that cannot are listed with their reason.
    """
    field, gpu = Field(), devices.parse(request.device)
    if gpu.kind == "cuda":
        cuda.gpu(gpu.index)
    has_torch = _has_torch(field, str(gpu))
    loaded = request.loads() if request.loads else None
    named = (
        _expand(request.paths)
        if request.paths
        else _everything(request, loaded, field, stack, step)
    )
    for path, must_load in named.items():
        try:
            _add(field, path, request, stack, step)
        except DeployError as error:
            if must_load and not isinstance(error, BackendUnavailable):
                raise
            field.skip(str(path), str(error))
    if not field.contenders:
        reasons = "; ".join(f"{s['engine']}: {s['reason']}" for s in field.skipped)
        raise BackendUnavailable(f"no engine can be timed here; {reasons or 'none was chosen'}")
    shape = field.image_shape
    if has_torch:
        _add_eager(field, request, loaded, shape, str(gpu))
    return field


def _has_torch(field: Field, device: str) -> bool:
    """Whether PyTorch runs on the device; if not, eager is listed."""
    try:
        BACKENDS["torchscript"].probe(device)  # imports PyTorch as sessions do
    except BackendUnavailable as error:
        field.skip(EAGER, str(error))
        return False
    return True


def _expand(paths: Sequence[Path]) -> dict[Path, bool]:
    """Each artifact and ONNX file, and whether it was named itself, not the folder that has it."""
    found: dict[Path, bool] = {}
    for path in paths:
        if path.name == PLAN_NAME and path.is_file():
            continue  # the plan that `tune` wrote beside the artifacts, caught by a glob
        if (
            path.is_dir()
            and not (path / MANIFEST_NAME).is_file()
            and (inside := artifacts_in(path))
        ):
            found |= {child: found.get(child, False) for child in inside}
        else:
            found[path] = True
    if not found:
        raise InputError(f"expected artifacts, found {', '.join(map(str, paths))} alone")
    return found


def _add(field: Field, path: Path, request: Request, stack: ExitStack, step: Step) -> None:
    if path.suffix == ".onnx" and path.is_file():
        _add_file(field, path, request, stack, step)
        return
    manifest = Artifact.open(path).manifest
    require_timed(manifest)
    kind = manifest.format
    able = backends_of(kind, request.device)
    if not able:
        field.skip(str(path), none_runs(kind, request.device))
    for name in backends_of(kind):
        if name not in request.backends and not ("auto" in request.backends and name in able):
            continue
        for count in request.threads:
            arguments: dict[str, Any] = {
                "path": str(path), "backend": name, "device": request.device,
                "threads": count, "trust": request.trust or not request.paths,
            }  # fmt: skip
            step(f"loading {path} on {name}")
            try:
                session = stack.enter_context(lenet_runtime.load(**arguments))
            except BackendUnavailable as error:
                field.skip(name, str(error))
            else:
                suffix = _suffix(count, request)
                field.add(session, arguments, engine_name(session) + suffix)


def _add_file(field: Field, path: Path, request: Request, stack: ExitStack, step: Step) -> None:
    if not request.trust:
        raise InputError(
            f"{path}: an ONNX file that is no artifact may make the engine do anything; if you "
            "know who made it, pass --trust"
        )
    if devices.parse(request.device).kind != "cpu":
        raise BackendUnavailable("an ONNX file that is no artifact is timed on the CPU alone")
    for count in request.threads:
        step(f"loading {path} on ONNX Runtime")
        stack.callback(field.add_file(path, count, _suffix(count, request)).close)


def _suffix(count: int, request: Request) -> str:
    return f" t{count}" if len(request.threads) > 1 else ""


def _add_eager(
    field: Field, request: Request, loaded: "Loaded | None", shape: tuple[int, ...], device: str
) -> None:
    from lenet_deploy.training.checkpoint import load_network
    from lenet_export.network.weights import fingerprint
    from lenet_runtime.backends.torch import core

    chosen = loaded or load_network()
    weights, theirs = fingerprint(chosen.module), _weights(field)
    if loaded is None and weights not in theirs:
        field.skip(EAGER, "nobody said what these are of; name their weights with --checkpoint")
        return
    if chosen.input_shape != shape or (theirs and weights not in theirs):
        raise InputError(
            "--checkpoint: these are not the weights of what is timed, or not for images "
            f"{shape}; name those it was exported from, or drop --checkpoint"
        )
    module = chosen.module.requires_grad_(False).to(device)
    network = Network(chosen.input_shape, chosen.labels, chosen.preprocessing)
    eager = []
    for count in request.threads:
        predictor = core.predictor(EAGER, module, device, count, "fp32")
        details = {
            "backend": EAGER, "precision": "fp32", "threads": count, "device": device,
            "weights_sha256": weights,
        }  # fmt: skip
        name = EAGER + _suffix(count, request)
        eager.append(Contender(name, predictor.run, details, None, predictor, network))
    field.contenders[:0] = eager


def _weights(field: Field) -> set[str]:
    """SHA-256 of the weights of each artifact that takes part."""
    return {w for c in field.contenders if (w := c.details["weights_sha256"]) is not None}


def _everything(
    request: Request, loaded: "Loaded | None", field: Field, stack: ExitStack, step: Step
) -> dict[Path, bool]:
    """The network in every format that can be made here; the others are listed.

    Those of the bundled one are kept for the next time.
    """
    folder = None
    if loaded is not None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lenet-bench-")))
    device, paths = str(devices.parse(request.device)), {}
    for name in FORMATS:
        if not backends_of(name, device):
            field.skip(name, f"it runs on {' and '.join(kinds_of(name))}, not on {device}")
            continue
        try:
            if loaded is None or folder is None:
                path = default_artifact(name, step, device)
            else:
                path = _exported(loaded, name, folder / f"{name}-fp32", device, step)
        except DeployError as error:
            field.skip(name, str(error))
        else:
            paths[path] = False
    return paths


def _exported(loaded: "Loaded", name: str, folder: Path, device: str, step: Step) -> Path:
    import lenet_export

    step(f"exporting to {name}")
    target = None if device == "cpu" else device
    return lenet_export.export(
        loaded.module, name, folder, device=target, progress=step, **loaded.arguments
    ).path
