"""Who takes part in `lenet-deploy bench`: artifacts on backends, and eager PyTorch as base line."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lenet_runtime
from lenet_bench.field import EAGER, Contender, Field
from lenet_bench.report import engine_name
from lenet_deploy.cache import default_artifact
from lenet_runtime import cuda, devices
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import BACKENDS, backends_of, kinds_of, none_runs
from lenet_runtime.errors import BackendUnavailable, DeployError
from lenet_runtime.formats import FORMATS


def gather(
    paths: Sequence[Path],
    backends: Sequence[str],
    *,
    device: str,
    threads: Sequence[int],
    trust: bool,
    stack: ExitStack,
    step: Callable[[str], None],
) -> Field:
    """Load everything that takes part; sessions are closed by `stack`.

    Args:
        paths: Folders of artifacts; none for the bundled network in every format, exported where
            it is missing.
        backends: Keys of `lenet_runtime.BACKENDS`; ``auto`` for all that run the format.
        device: The device of every engine.
        threads: Numbers of threads; each engine takes part once for each number.
        trust: Allow the named artifacts to run code; the toolkit's own cache is trusted.
        stack: The owner of the sessions.
        step: Called with what is loaded.

    Raises:
        BackendUnavailable: There is no such GPU, or no engine can be timed on it.
        DeployError: A named artifact cannot be loaded. Of the bundled ones, those that cannot are
            listed with their reason.
    """
    field, gpu = Field(), devices.parse(device)
    if gpu.kind == "cuda":
        cuda.gpu(gpu.index)
    _add_eager(field, threads, str(gpu))
    trusted = dict.fromkeys(paths, trust) or _bundled(field, str(gpu), step)
    for path, may_run_code in trusted.items():
        kind = Artifact.open(path).manifest.format
        able = backends_of(kind, device)
        if not able:
            field.skip(str(path), none_runs(kind, device))
        for name in backends_of(kind):
            if name not in backends and not ("auto" in backends and name in able):
                continue
            for count in threads:
                arguments: dict[str, Any] = {
                    "path": str(path), "backend": name, "device": device,
                    "threads": count, "trust": may_run_code,
                }  # fmt: skip
                step(f"loading {path} on {name}")
                try:
                    session = stack.enter_context(lenet_runtime.load(**arguments))
                except BackendUnavailable as error:
                    field.skip(name, str(error))
                else:
                    suffix = f" t{session.threads}" if len(threads) > 1 else ""
                    field.add(session, arguments, engine_name(session) + suffix)
    if not any(contender.load for contender in field.contenders):
        reasons = "; ".join(f"{s['engine']}: {s['reason']}" for s in field.skipped)
        raise BackendUnavailable(f"no engine can be timed here; {reasons or 'none was chosen'}")
    return field


def _add_eager(field: Field, threads: Sequence[int], device: str) -> None:
    try:
        BACKENDS["torchscript"].probe(device)  # imports PyTorch as sessions do
    except BackendUnavailable as error:
        field.skip(EAGER, str(error))
        return
    from lenet_deploy.training.checkpoint import load_checkpoint
    from lenet_runtime.backends.torch import core

    net = load_checkpoint().requires_grad_(False)
    if device != "cpu":
        net = net.to(device)
    for count in threads:
        name = EAGER + (f" t{count}" if len(threads) > 1 else "")
        predictor = core.predictor(EAGER, net, device, count, "fp32")
        details = {"backend": EAGER, "precision": "fp32", "threads": count, "device": device}
        field.contenders.append(Contender(name, predictor.run, details, None, predictor))


def _bundled(field: Field, device: str, step: Callable[[str], None]) -> dict[Path, bool]:
    """The bundled network in every format that can be made here, trusted; the others are listed."""
    trusted = {}
    for name in FORMATS:
        if not backends_of(name, device):
            field.skip(name, f"it runs on {' and '.join(kinds_of(name))}, not on {device}")
            continue
        try:
            trusted[default_artifact(name, step, device)] = True
        except DeployError as error:
            field.skip(name, str(error))
    return trusted
