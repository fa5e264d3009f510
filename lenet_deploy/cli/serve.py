"""`lenet-deploy serve`: an inference server that speaks the Open Inference Protocol."""

import importlib.util
import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lenet_deploy.cli.console import plain, warn
from lenet_deploy.cli.options import Backend, Device, Threads, Trust, completing
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError, expected_one_of
from lenet_runtime.version import pip_install

if TYPE_CHECKING:
    from lenet_serve.server import ServerOptions

_LISTEN, _LIMITS, _SECURITY = "Listening and ending", "Limits", "Security"
_CLUSTER, ENGINES = "On a cluster", ("local", "ray")
_KIB, _MIB = 2**10, 2**20


def _flag(panel: str, help: str, metavar: str | None = None, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, **more)


def serve(
    ctx: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(
            help="An exported folder, or a folder of models, NAME/VERSION/ in it.",
            metavar="ARTIFACT|FOLDER",
            show_default=False,
        ),
    ],
    *,
    trust: Trust = False,
    name: Annotated[
        str | None,
        typer.Option(help="What clients call the artifact. Default: lenet.", metavar="NAME"),
    ] = None,
    versions: Annotated[
        str,
        typer.Option(
            help="Which versions of a model in a folder are served.",
            metavar="all|latest",
            autocompletion=completing("all", "latest"),
        ),
    ] = "all",
    backend: Backend = "auto",
    device: Device = "cpu",
    threads: Threads = None,
    workers: Annotated[
        int,
        typer.Option(min=1, max=256, help="Processes; one for each core is the most that pays."),
    ] = 1,
    max_batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65536,
            help="Images of several requests that are computed together. Default: 1 for native, "
            "64 for others.",
            metavar="N",
        ),
    ] = None,
    poll_seconds: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds between two looks at what changed in the folder; 0 for none."
        ),
    ] = 1.0,
    allow_model_control: Annotated[
        bool,
        typer.Option("--allow-model-control", help="Let clients load and unload models."),
    ] = False,
    engine: Annotated[
        str,
        _flag(_CLUSTER, "Who runs the service.", "local|ray", autocompletion=completing(*ENGINES)),
    ] = "local",
    replicas: Annotated[
        str, _flag(_CLUSTER, "Fewest and most replicas on Ray, by load.", "N..N")
    ] = "2..8",
    address: Annotated[
        str | None,
        _flag(_CLUSTER, "A Ray cluster. Default: one of this machine.", "auto|HOST:PORT"),
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option(
            help="Log each request as a line on stderr. Default: those that fail alone, as text.",
            metavar="json|text",
            autocompletion=completing("json", "text"),
        ),
    ] = None,
    log_sample: Annotated[
        str, typer.Option(help="Share of answered requests to log, such as 1/100.", metavar="SHARE")
    ] = "1",
    host: Annotated[str, _flag(_LISTEN, "Address to listen on; 0.0.0.0 is all.", "HOST")] = (
        "127.0.0.1"
    ),
    http_port: Annotated[
        int, _flag(_LISTEN, "Port of REST; 0 for any.", "PORT", min=0, max=65535)
    ] = 8000,
    grpc_port: Annotated[str, _flag(_LISTEN, "Port of gRPC; 0 for any.", "PORT|off")] = "8001",
    uds: Annotated[
        Path | None, _flag(_LISTEN, "Unix socket for REST, in place of host and port.", "PATH")
    ] = None,
    drain_delay: Annotated[
        float,
        _flag(
            _LISTEN,
            "Seconds from SIGTERM, when it says that it is not ready, until it takes no more "
            "connections.",
            "SECONDS",
            min=0,
            max=3600,
        ),
    ] = 5.0,
    tls_cert: Annotated[
        Path | None, _flag(_SECURITY, "Certificate and its chain, PEM.", "FILE")
    ] = None,
    tls_key: Annotated[Path | None, _flag(_SECURITY, "The certificate's key, PEM.", "FILE")] = None,
    token_file: Annotated[
        Path | None,
        _flag(
            _SECURITY,
            "File of a token, which all but probes must show as Authorization: Bearer TOKEN.",
            "FILE",
        ),
    ] = None,
    max_body: Annotated[
        int, _flag(_LIMITS, "MiB of a request, inflated.", "MIB", min=1, max=1024)
    ] = 16,
    max_rows: Annotated[int, _flag(_LIMITS, "Images of a request.", "N", min=1, max=65536)] = 4096,
    max_queue: Annotated[
        int,
        _flag(_LIMITS, "Images of a model's requests under way; others get 503.", "N", min=1),
    ] = 16384,
    queue_memory: Annotated[int, _flag(_LIMITS, "MiB of these images.", "MIB", min=1)] = 64,
    read_memory: Annotated[
        int, _flag(_LIMITS, "MiB of all bodies that are being received.", "MIB", min=1)
    ] = 256,
    max_headers: Annotated[
        int, _flag(_LIMITS, "KiB of a request's headers.", "KIB", min=1, max=1024)
    ] = 32,
    max_json_depth: Annotated[
        int, _flag(_LIMITS, "Brackets within brackets.", "N", min=8, max=512)
    ] = 16,
    max_connections: Annotated[int, _flag(_LIMITS, "Connections of REST.", "N", min=1)] = 1024,
    read_timeout: Annotated[
        float, _flag(_LIMITS, "Seconds for a request to come whole.", "SECONDS", min=0.1)
    ] = 20.0,
    idle_timeout: Annotated[
        float, _flag(_LIMITS, "Seconds that a connection may idle.", "SECONDS", min=0.1)
    ] = 75.0,
) -> None:
    """Serve models by the Open Inference Protocol (KServe V2), REST and gRPC.

    Says its addresses on stderr once it is ready. SIGTERM ends it without
    losing a request, a second one at once; Ctrl-C does not wait for
    --drain-delay. What changes in the folder is loaded, and SIGHUP loads
    everything again.
    """
    if engine != "local":
        _on_ray(ctx, engine)
        return
    if address is not None:
        raise InputError("--address: expected --engine ray with it, found none")
    grpc = _grpc_port(grpc_port)
    _require("serve", "uvicorn", "httptools", "orjson")
    if grpc is not None:
        _require("grpc", "grpc", "google.protobuf", otherwise=", or give --grpc-port off")
    from lenet_serve import logs
    from lenet_serve.launch import Plan, launch
    from lenet_serve.limits import Limits
    from lenet_serve.repository import RepositoryOptions
    from lenet_serve.server import ServerOptions

    options = ServerOptions(
        host=host,
        http_port=http_port,
        grpc_port=grpc,
        uds=uds,
        drain_delay=drain_delay,
        tls_cert=tls_cert,
        tls_key=tls_key,
        token=None if token_file is None else _token(token_file),
    )
    _check(options, workers)
    if _is_open(options):
        warn(plain(f"--host {host}: anybody who reaches it may ask, as there is no --token-file"))
    limits = Limits(
        body_bytes=max_body * _MIB,
        received_bytes=read_memory * _MIB,
        header_bytes=max_headers * _KIB,
        json_depth=max_json_depth,
        rows=max_rows,
        queued_rows=max_queue,
        queued_bytes=queue_memory * _MIB,
        read_s=read_timeout,
        idle_s=idle_timeout,
        connections=max_connections,
    )
    repository = RepositoryOptions(
        path=path,
        name=name,
        versions=versions,
        trust=trust,
        backend=backend,
        device=device,
        threads=threads,
        max_batch=max_batch,
        poll_seconds=poll_seconds,
        allow_model_control=allow_model_control,
    )
    if log_format not in (None, *logs.FORMATS):
        raise InputError(f"--log-format: {expected_one_of(logs.FORMATS, log_format)}")
    plan = Plan(repository, options, limits, workers, log_format, logs.sample(log_sample))
    code = launch(plan, lambda line: warn(plain(line)))
    if code:
        raise typer.Exit(code)


def _on_ray(ctx: typer.Context, engine: str) -> None:
    """Serve on a Ray cluster what the command was told."""
    if engine != "ray":
        raise InputError(f"engine: {expected_one_of(ENGINES, engine)}")
    from lenet_deploy.cli import serve_ray

    serve_ray.check_options(ctx)
    told = ctx.params
    args = {name: told[name] for name in serve_ray.ARGUMENTS} | {"artifact": told["path"]}
    address, host, port = (told[name] for name in ("address", "host", "http_port"))
    serve_ray.run(args, address, host, port, lambda line: warn(plain(line)))


def _grpc_port(text: str) -> int | None:
    if text == "off":
        return None
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise InputError(f"--grpc-port: expected off or a port of 0 to 65535, found {text[:100]!r}")


def _require(extra: str, *modules: str, otherwise: str = "") -> None:
    """Say what to install, before anything starts."""
    for module in modules:
        try:
            found = importlib.util.find_spec(module)
        except (ImportError, ValueError):  # its package is missing, or barred in a test
            found = None
        if found is None:
            raise BackendUnavailable(
                f"this needs {module}, which is not installed; {pip_install(extra)}{otherwise}"
            )


def _token(path: Path) -> str:
    token = path.read_text(errors="replace").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"--token-file: {path}: expected one word of ASCII, found none, or something else"
        )
    return token


def _is_open(options: "ServerOptions") -> bool:
    """Whether others than this machine's users can reach the server, without a token."""
    if options.token or options.uds or options.host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(options.host).is_loopback
    except ValueError:  # a name
        return True


def _check(options: "ServerOptions", workers: int) -> None:
    """Refuse what would fail later, when the first client comes."""
    if (options.tls_cert is None) != (options.tls_key is None):
        raise InputError("--tls-cert, --tls-key: expected both or neither, found one")
    if options.uds and workers > 1:
        raise InputError("--uds: expected --workers 1, found several, which share a port alone")
    if options.tls_cert:
        import ssl

        for path in filter(None, (options.tls_cert, options.tls_key)):
            path.open("rb").close()  # whose error, unlike that of ssl, names it
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                options.tls_cert, options.tls_key
            )
        except ssl.SSLError as error:
            raise DeployError(
                f"--tls-cert, --tls-key: expected a certificate and its own key as PEM in "
                f"{options.tls_cert} and {options.tls_key}, found: {error.reason}"
            ) from error
