"""The service on a Ray cluster: `lenet_serve.ray:app` is what Ray Serve's configuration names.

Each replica is a `Service` behind our own ASGI application. Ray Serve's proxies take the
requests, its controller starts replicas and replaces those that died.
"""

import asyncio
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ray import serve

from lenet_runtime.errors import InputError, expected_one_of
from lenet_serve.http.asgi import Asgi, asgi
from lenet_serve.limits import Limits
from lenet_serve.ray_metrics import RayMetrics
from lenet_serve.repository import FolderRepository, RepositoryOptions
from lenet_serve.service import Service

DEPLOYMENT: dict[str, Any] = {
    "max_ongoing_requests": 64,
    "max_queued_requests": 1024,  # in each proxy; beyond it clients get 503
    "autoscaling_config": {"min_replicas": 2, "max_replicas": 8, "target_ongoing_requests": 8},
    "health_check_period_s": 1.0,  # a dead replica is noticed and replaced after at most that
    "health_check_timeout_s": 3.0,
    "graceful_shutdown_wait_loop_s": 0.5,
    "graceful_shutdown_timeout_s": 30.0,
    "ray_actor_options": {"num_cpus": 1},
}
_OPTIONS = tuple(
    f.name for f in fields(RepositoryOptions) if f.name not in ("path", "allow_model_control")
)


def app(args: dict[str, Any]) -> serve.Application:
    """Build the application, as Ray Serve asks for it.

    Args:
        args: ``artifact``, the folder of an artifact or of models, on storage that all nodes see.
            The deployment's ``user_config`` may name it instead; a change of it there is a rolling
            update. ``replicas``, the fewest and the most, ``2..8``. And what `RepositoryOptions`
            has: ``name``, ``trust``, and others.

    Raises:
        InputError: There is no such argument, or one cannot be.
    """
    args = dict(args)
    artifact, replicas = args.pop("artifact", None), args.pop("replicas", None)
    for name in args:
        if name not in _OPTIONS:
            raise InputError(
                f"args: {expected_one_of(('artifact', 'replicas', *_OPTIONS), str(name))}"
            )
    options: dict[str, Any] = dict(DEPLOYMENT)
    if artifact is not None:
        options["user_config"] = {"artifact": str(artifact)}
    if replicas is not None:
        options["autoscaling_config"] = DEPLOYMENT["autoscaling_config"] | _bounds(str(replicas))
    deployed = serve.deployment(name="lenet", **options)
    application: serve.Application = deployed(serve.ingress()(Replica)).bind(
        RepositoryOptions(Path(), **args)
    )
    return application


def _bounds(replicas: str) -> dict[str, int]:
    least, _, most = replicas.partition("..")
    most = most or least
    if not (least.isdigit() and most.isdigit() and 2 <= int(least) <= int(most)):
        raise InputError(
            "replicas: expected the fewest and the most, such as 2..8, and two at least, as one "
            f"that dies would leave none; found {replicas!r}"
        )
    return {"min_replicas": int(least), "max_replicas": int(most)}


class Replica:
    """One replica: a service, whose artifact Ray Serve may change while it answers.

    Args:
        options: How models are loaded; their path is where `reconfigure` says.
    """

    def __init__(self, options: RepositoryOptions) -> None:
        self._options, self._limits, self._metrics = options, Limits(), RayMetrics()
        # The models come with `reconfigure`, which Ray Serve calls before the first request.
        self.service = Service([], limits=self._limits, metrics=self._metrics)

    def __serve_build_asgi_app__(self) -> Asgi:
        return asgi(self.service)

    async def reconfigure(self, user_config: dict[str, str]) -> None:
        """Serve an artifact in place of the one before, which answers until the new one does.

        Args:
            user_config: ``artifact``, the folder.

        Raises:
            DeployError: It cannot be loaded or proven.
        """
        await asyncio.to_thread(self._serve, Path(user_config["artifact"]))

    def _serve(self, path: Path) -> None:
        options = replace(self._options, path=path)
        repository = FolderRepository(options, limits=self._limits, metrics=self._metrics)
        try:
            repository.wait()
        except BaseException:
            repository.close()
            raise
        before, self.service.repository = self.service.repository, repository
        before.close()

    def check_health(self) -> None:
        """Answer the controller, which replaces a replica that does not.

        Raises:
            InputError: Nobody said what to serve.
        """
        if not self.service.index():
            raise InputError("args or user_config: expected an artifact, found none")

    def __del__(self) -> None:
        self.service.close()
