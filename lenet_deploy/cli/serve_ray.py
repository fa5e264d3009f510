"""`lenet-deploy serve --engine ray`: the service as an application of a Ray cluster."""

import re
import signal
from collections.abc import Callable
from typing import Any

from lenet_deploy.cluster import connected, prepare
from lenet_runtime.cpu import usable_cores
from lenet_runtime.errors import DeployError, InputError, first_line
from lenet_serve.listening import ServerOptions, listen

# What Ray Serve has its own ways for, or what each replica would do for itself alone, is refused.
ARGUMENTS = (
    "trust", "name", "versions", "backend", "device", "threads", "max_batch", "poll_seconds",
    "replicas",
)  # fmt: skip
_TAKEN = {*ARGUMENTS, "path", "host", "http_port", "engine", "address", "quiet"}


def check_options(ctx: Any) -> None:
    """Refuse flags that mean nothing to a Ray cluster.

    Raises:
        InputError: One was given.
    """
    for name in ctx.params.keys() - _TAKEN:
        if ctx.get_parameter_source(name).name == "COMMANDLINE":
            raise InputError(
                f"{name}: expected none with engine='ray', whose replicas and proxies Ray Serve "
                "configures; docs/serving.md says how"
            )


def run(
    args: dict[str, Any],
    address: str | None,
    host: str,
    port: int,
    say: Callable[[str], None],
) -> None:
    """Deploy the application, wait for SIGTERM or SIGINT, and take it away again.

    Args:
        args: See `lenet_serve.ray.app`.
        address: See `connected`.
        host, port: Where Ray Serve's proxies listen; those of a cluster that serves already stay
            where they are.
        say: Called once it answers, with a line that tells where.

    Raises:
        DeployError: There is no cluster, or the application does not start.
    """
    prepare(address)
    from ray import serve
    from ray.serve.exceptions import RayServeException

    from lenet_serve.ray import app

    application, name = app(args), args.get("name") or "lenet"
    with listen(ServerOptions(host, port)) as listener:  # whose error says what is wrong
        port = listener.getsockname()[1]
    least = int(args["replicas"].partition("..")[0])
    with connected(address, cpus=max(usable_cores(), least)):
        serve.start(http_options={"host": host, "port": port})
        if name in serve.status().applications:
            raise InputError(f"name: the cluster serves an application {name!r} already")
        try:
            serve.run(application, name=name, route_prefix="/")
            signals = {signal.SIGTERM, signal.SIGINT}
            signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # `sigwait` takes them
            where = f"http://{host}:{port}" if address is None else f"Ray Serve of {address}"
            say(f"ready: {where}, application {name}")
            signal.sigwait(signals)
        except (RuntimeError, ValueError, RayServeException) as error:
            reason = _reason(serve.status().applications.get(name)) or first_line(error)
            raise DeployError(f"Ray Serve: {reason}") from error
        finally:
            serve.delete(name)
            if address is None:
                serve.shutdown()


def _reason(application: Any) -> str:
    """Our own error among the traces that a deployment failed with; empty where there is none."""
    deployments = application.deployments.values() if application else ()
    said = "\n".join(deployment.message for deployment in deployments)
    return "".join(re.findall(r"^lenet_runtime\.errors\.\w+: (.*)$", said, re.MULTILINE)[-1:])
