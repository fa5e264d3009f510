"""From a folder to a `Session` that has proven that it answers rightly here.

`load` is the one way there: `load_plan` takes it, and so does the proof of an export, so that what
is proven is what is served.
"""

import copyreg
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lenet_runtime import devices
from lenet_runtime.artifact import Artifact, golden, requirements
from lenet_runtime.artifact import trust as trusted
from lenet_runtime.backends import BACKENDS, choose
from lenet_runtime.errors import ArtifactError, DeployError, InputError
from lenet_runtime.session import Session

_MAX_THREADS = 1024  # engines take more, and then fail to start them in ways of their own


def load(
    path: str | os.PathLike[str] | Artifact,
    backend: str = "auto",
    device: str = "cpu",
    threads: int | None = None,
    trust: bool = False,
    *,
    check_finite: bool = True,
    unproven: bool = False,
) -> Session:
    """Load an artifact, prove on its golden images that it answers rightly, and return it.

    Args:
        path: the artifact's folder, or what `Artifact.open` returned.
        backend: a key of `lenet_runtime.BACKENDS`; or ``auto``, the first of the table that runs
            this format on this device. (``fastest`` is the old spelling of `load_plan`.)
        device: ``cpu``, ``cuda`` (the first GPU) or ``cuda:N``. What is asked for is what runs;
            there is no fallback.
        threads: CPU threads of a call, 1 to 1024, the caller's among them. None is one, and
            for ``native``, which splits batches of 128 images and more, as many as this process
            may use; so it is for ``fused-cuda``, where up to four copy more than 4,096 images. Idle
            threads sleep; but PyTorch's, where there is more than one, spin for 10 ms if PyTorch
            was imported before the first load, and ``GOMP_SPINCOUNT`` was not set.
        trust: allow an artifact that is more than data; needed for every format but ``onnx``,
            and for ONNX graphs that are not of LeNet's family, unless this process exported it.
        check_finite: refuse NaN and infinities in every `Session.run`.
        unproven: allow an artifact of ``export --no-verify`` that was not proven since. For what
            proves it: ``lenet-deploy verify --record``.

    Raises:
        ArtifactError: the artifact is damaged, foreign, or more than data and not trusted.
        BackendUnavailable: the engine, the device or a CPU extension is not here.
        InputError: an argument is wrong.
        ParityError: the self-test failed.
    """
    _check_arguments(threads, trust=trust, unproven=unproven)
    if backend == "fastest" and not isinstance(path, Artifact):
        warnings.warn(
            'load(..., backend="fastest") is now spelt load_plan(...)',
            DeprecationWarning,
            stacklevel=2,
        )
        return load_plan(path, device, threads, trust, check_finite=check_finite)
    artifact = path if isinstance(path, Artifact) else Artifact.open(path)
    device = str(devices.parse(device))
    name = choose(artifact.manifest.format, backend, device)
    engine = BACKENDS[name]
    requirements.require(artifact.manifest, engine, device, artifact.path)
    _require_proof(artifact, device, unproven=unproven)
    trusted.require(artifact, trust)
    starts = engine.starts(artifact)
    session = Session(
        engine.load(artifact, device, threads), artifact, name, device=device, threads=threads,
        chunk=engine.chunk(artifact.manifest, device), check_finite=check_finite,
    )  # fmt: skip
    return _tested(session, starts)


def _reload(path: Path, digest: str, options: dict[str, Any]) -> Session:
    """The session of the same artifact again, for `pickle` and `copy`.

    Trusted as the first one was, because it must be the same content.

    Raises:
        ArtifactError: another artifact is there now.
    """
    artifact = Artifact.open(path)
    if artifact.digest != digest:
        raise ArtifactError(
            f"{path}: not the artifact that the session had which was pickled or copied; load "
            "it by itself"
        )
    return load(artifact, trust=True, **options)


def _reduce(session: Session) -> tuple[Any, ...]:
    if session.backend not in BACKENDS:
        raise DeployError(
            f"a session of a plan, {session.artifact.path.parent}, cannot be pickled or copied; "
            "call load_plan where it is needed"
        )
    assert session.predictor  # a closed one says so
    names = ("backend", "device", "threads", "check_finite")
    options = {name: getattr(session, name) for name in names}
    return _reload, (session.artifact.path.absolute(), session.artifact.digest, options)


copyreg.pickle(Session, _reduce)


def load_plan(
    folder: str | os.PathLike[str],
    device: str = "cpu",
    threads: int | None = None,
    trust: bool = False,
    *,
    check_finite: bool = True,
) -> Session:
    """Load a folder of artifacts with the plan of ``lenet-deploy tune``.

    Each batch goes to the artifact and backend that were fastest at the nearest measured size.

    Args:
        folder: artifacts of one network, and ``plan.json``.
        device: see `load`, as for `trust` and `check_finite`.
        threads: CPU threads of each engine; None is the plan's own number.

    Raises:
        ArtifactError: there is no plan, or an artifact of it is gone, changed or not trusted.
        PlanWarning: (a warning) the plan was made elsewhere, so an ONNX artifact runs alone.
    """
    from lenet_runtime.plans import plan as plans  # 1 ms, which no other load pays
    from lenet_runtime.plans.routing import Route, Router, require_one_network

    _check_arguments(threads, trust=trust)
    folder, device = Path(folder), str(devices.parse(device))
    plan = plans.read(folder)
    _check_arguments(plan.threads)
    options: dict[str, Any] = {"device": device, "check_finite": check_finite}
    misfits = plans.misfits(plan, device, threads)
    if misfits:
        return _without_plan(folder, misfits, options | {"threads": threads, "trust": trust})
    options["threads"] = plan.threads
    with ExitStack() as stack:
        sessions: dict[tuple[str, str], Session] = {}
        routes = []
        for entry in plan.entries:
            key = entry.artifact, entry.backend
            if key not in sessions:
                artifact = _open_planned(folder / entry.artifact, entry.digest)
                session = load(artifact, entry.backend, trust=trust, **options)
                sessions[key] = stack.enter_context(session)
            routes.append(Route(entry.batch_size, sessions[key].predictor, entry.chunk))
        require_one_network(list(sessions.values()))
        router = Router(routes, stack.pop_all())
    first = next(iter(sessions.values())).artifact
    return _tested(Session(router, first, "fastest", **options), router.starts)


def _tested(session: Session, starts: Sequence[int]) -> Session:
    """The session after its self-tests at these starts; it is closed if one fails."""
    try:
        golden.self_test(session.run, session.artifact, session.backend, starts)
        golden.pixel_test(session.predictor, session.artifact, session.backend, starts)
    except BaseException:
        session.close()
        raise
    return session


def _check_arguments(threads: int | None, **switches: bool) -> None:
    if threads is not None and (type(threads) is not int or not 1 <= threads <= _MAX_THREADS):
        raise InputError(
            f"threads: expected an integer from 1 to {_MAX_THREADS} or None, found {threads!r}"
        )
    for name, value in switches.items():
        if type(value) is not bool:  # a configuration's "false" is true
            raise InputError(f"{name}: expected True or False, found {value!r}")


def _require_proof(artifact: Artifact, device: str, *, unproven: bool) -> None:
    report = artifact.manifest.parity
    if not report.comparisons:
        if unproven:
            return
        raise ArtifactError(
            f"{artifact.path}: it was exported with --no-verify, and nobody has compared it with "
            f"eager PyTorch; run lenet-deploy verify {artifact.path} --device {device} --trust "
            "--record on a machine like this one"
        )
    if not report.ok:
        raise ArtifactError(f"{artifact.path}: its parity report says it failed; export it again")


def _open_planned(path: Path, digest: str) -> Artifact:
    artifact = Artifact.open(path)
    if artifact.digest != digest:
        raise ArtifactError(
            f"{artifact.path}: not the artifact that the plan was measured with; "
            f"run lenet-deploy tune {path.parent} again"
        )
    return artifact


def _without_plan(folder: Path, misfits: Sequence[str], options: Mapping[str, Any]) -> Session:
    """Start the first ONNX artifact of the folder, announced; ONNX is data and runs anywhere."""
    from lenet_runtime.plans import plan as plans
    from lenet_runtime.plans.routing import PlanWarning

    misfit = f"{folder / plans.PLAN_NAME} does not fit this machine ({'; '.join(misfits)})"
    for path in plans.artifacts_in(folder):
        artifact = Artifact.open(path)
        if artifact.manifest.format == "onnx" and artifact.manifest.batch_size is None:
            warnings.warn(
                f"{misfit}, so {path} runs for every batch size; "
                f"run lenet-deploy tune {folder} here",
                PlanWarning,
                stacklevel=3,
            )
            return load(artifact, "auto", **options)
    raise ArtifactError(
        f"{misfit}, and {folder} holds no onnx artifact with a dynamic batch to run instead; "
        f"run lenet-deploy tune {folder} here"
    )
