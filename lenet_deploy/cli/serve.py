"""`lenet-deploy serve`: an inference server that speaks the Open Inference Protocol."""

from pathlib import Path
from typing import Annotated

import typer

from lenet_deploy.cli.console import plain, warn
from lenet_deploy.cli.options import Trust


def serve(
    path: Annotated[
        Path,
        typer.Argument(
            help="An exported folder, or a folder of models: NAME/VERSION/.",
            metavar="ARTIFACT|FOLDER",
        ),
    ],
    *,
    trust: Trust = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of REST; 0 for any.")
    ] = 8000,
    name: Annotated[str, typer.Option(help="The model's name.")] = "lenet",
    drain_delay: Annotated[float, typer.Option(min=0, help="Seconds.")] = 5.0,
) -> None:
    """Serve models by the Open Inference Protocol (KServe V2)."""
    from lenet_serve import Service
    from lenet_serve.server import ServerOptions, listen, run_worker, url

    options = ServerOptions(host=host, http_port=http_port, drain_delay=drain_delay)
    listener = listen(options)
    with Service.open(path, name, trust=trust) as service:
        run_worker(
            listener, service, options, lambda: warn(f"ready: {plain(url(listener, options))}")
        )
