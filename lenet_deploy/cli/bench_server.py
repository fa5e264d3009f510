"""`lenet-deploy bench --scenario server`: requests at a rate, whether or not they are answered."""

import math
import re
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lenet_deploy.cli.bench_load_tables import print_load
from lenet_deploy.cli.bench_outputs import STDOUT, Outputs
from lenet_deploy.cli.console import progress, share_done
from lenet_runtime.errors import DeployError, InputError

if TYPE_CHECKING:
    from lenet_bench.field import Field
    from lenet_bench.openloop.measure import LoadSettings
    from lenet_bench.openloop.report import LoadRun
    from lenet_bench.openloop.targets import Target
    from lenet_deploy.benching import Request

_PANEL = "Server scenario"
_MIN_SECONDS = 4.0
_MOST_CALLERS = 256
_MOST_RATE = 250_000
_OPEN_LOOP = ("rate", "p99", "url", "concurrency")
# What means nothing where requests come at a rate.
_CLOSED_LOOP = (
    "batch_sizes", "min_iterations", "warmup", "inputs", "scope", "cold_start", "scaling",
    "data_dir", "baseline", "fail_above", "force",
)  # fmt: skip


class Scenario(Enum):
    """When the next request is sent; the names are MLPerf's."""

    single_stream = "single-stream"
    server = "server"


def _flag(name: str, metavar: str, help: str, **more: Any) -> Any:
    return typer.Option(name, metavar=metavar, help=help, rich_help_panel=_PANEL, **more)


@dataclass(frozen=True)
class Load:
    """The flags of the server scenario, as they were given."""

    scenario: Annotated[
        Scenario,
        typer.Option(
            help="When the next request is sent: single-stream, once the last one was answered (a "
            "closed loop); or server, at random moments of a fixed rate (an open loop).",
        ),
    ] = Scenario.single_stream
    rate: Annotated[
        str | None, _flag("--rate", "N,N...", "Requests a second, of one image each; several.")
    ] = None
    p99: Annotated[
        str | None,
        _flag(
            "--p99", "TIME", "Search the highest rate whose p99 is within this, as 500us or 2ms."
        ),
    ] = None
    url: Annotated[
        list[str] | None,
        _flag(
            "--url",
            "[NAME=]URL",
            "A server of the Open Inference Protocol, as http://HOST:PORT or grpc://HOST:PORT, "
            "with /v2/models/MODEL where that is not lenet. Several, side by side.",
        ),
    ] = None
    concurrency: Annotated[
        int,
        _flag(
            "--concurrency",
            "N",
            "Requests under way at most: connections to a server, callers of a session.",
            min=1,
            max=_MOST_CALLERS,
        ),
    ] = 1

    def refuse_others(self, context: typer.Context) -> None:
        """Refuse the flags of the other scenario.

        Raises:
            InputError: Some were given.
        """
        serves = self.scenario is Scenario.server
        others = _CLOSED_LOOP if serves else _OPEN_LOOP
        if given := ", ".join(flag for name, flag in _given(context).items() if name in others):
            raise InputError(
                f"--scenario server does not go with {given}"
                if serves
                else f"{given}: expected --scenario server with it"
            )

    def settings(self, context: typer.Context, seed: int) -> "LoadSettings":
        """How to measure.

        Raises:
            InputError: Neither rates nor a limit were given, or they are none.
        """
        from lenet_bench.openloop.measure import LoadSettings

        given = _given(context).values()
        if self.rate is None and self.p99 is None:
            raise InputError(
                "--scenario server: expected --rate 500,1000,2000, or --p99 500us for the highest "
                "rate at which p99 holds"
            )
        return LoadSettings(
            rates=rates_of(self.rate) if self.rate else (),
            p99_limit_us=microseconds_of(self.p99) if self.p99 else None,
            min_seconds=context.params["min_time"] if "--min-time" in given else _MIN_SECONDS,
            seed=seed,
        )


def _given(context: typer.Context) -> dict[str, str]:
    """The flags that this command line has, by their parameters."""
    return {
        p.name: p.opts[-1]
        for p in context.command.params
        if p.name and getattr(context.get_parameter_source(p.name), "name", "") == "COMMANDLINE"
    }


def rates_of(text: str) -> tuple[float, ...]:
    """Parse requests a second that are separated by commas.

    Raises:
        InputError: They are none.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", part) for part in parts) or not all(
        1 <= float(part) <= _MOST_RATE for part in parts
    ):
        raise InputError(
            f"--rate: expected requests a second, 1 to {_MOST_RATE:,}, like 500,1000,2000, found "
            f"{text[:100]!r}"
        )
    return tuple(dict.fromkeys(map(float, parts)))


def microseconds_of(text: str) -> float:
    """Parse a time with its unit, ``500us``, ``2ms`` or ``1s``.

    Raises:
        InputError: It is none.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(us|µs|ms|s)", text.strip())
    time = (
        float(match[1]) * {"us": 1, "µs": 1, "ms": 1e3, "s": 1e6}[match[2]] if match else math.nan
    )
    if not 1 <= time <= 1e6:
        raise InputError(f"--p99: expected a time of 1us to 1s, like 500us or 2ms, found {text!r}")
    return time


def bench_server(
    request: "Request", settings: "LoadSettings", load: Load, outputs: Outputs
) -> None:
    """Measure sessions and servers in the server scenario, and print or write what came.

    Args:
        request: Which sessions take part; none where only servers were named.
        settings: How to measure.
        load: The flags of the scenario.
        outputs: Where to write.

    Raises:
        InputError: Two have one name.
        DeployError: Nobody answers at a URL, or an artifact cannot be loaded.
    """
    from lenet_bench.html.open_loop import write_html
    from lenet_bench.openloop.report import csv_text

    with ExitStack() as stack:
        targets, field = _targets(request, load, stack)
        run, failure = _measure(targets, field, settings, request.device)
    if outputs.json != STDOUT:
        print_load(run)
    outputs.write(run, csv_text, write_html)
    if failure is not None:
        raise failure


def _targets(request: "Request", load: Load, stack: ExitStack) -> "tuple[list[Target], Field]":
    from lenet_bench.field import Field
    from lenet_bench.openloop.targets import CallTarget, connect
    from lenet_deploy import benching

    targets: list[Target] = []
    field = Field()
    with progress() as step:
        for url in load.url or ():
            step(f"connecting to {url}")
            targets.append(connect(url, load.concurrency))
            stack.callback(targets[-1].close)
        if request.paths or not load.url:
            field = benching.gather(request, stack, step)
    for one in field.contenders:
        if one.network.batch_size in (None, 1):
            shape = one.network.image_shape
            targets.append(CallTarget(one.name, one.run, shape, load.concurrency, one.details))
        else:
            field.skip(one.name, f"it takes batches of {one.network.batch_size} images alone")
    if len({target.name for target in targets}) < len(targets):
        raise InputError("--url: two of the same name; give them names, as ours=http://...")
    return targets, field


def _measure(
    targets: "list[Target]", field: "Field", settings: "LoadSettings", device: str
) -> "tuple[LoadRun, BaseException | None]":
    """What was measured, and what ended it before its time."""
    from lenet_bench import fingerprint
    from lenet_bench.openloop.measure import Windows
    from lenet_bench.openloop.report import LoadRun

    where, failure = fingerprint(device), None
    windows = Windows(targets, settings)
    try:
        with share_done() as report:
            windows.at_rates(report)
            if settings.p99_limit_us is not None:
                windows.search(settings.p99_limit_us, report)
    except (KeyboardInterrupt, DeployError) as error:
        failure = error
    run = LoadRun(
        settings=settings,
        fingerprint=where,
        results=windows.results,
        targets={t.name: {**t.details, "concurrency": t.concurrency} for t in targets},
        found=windows.found,
        skipped=tuple(field.skipped),
        interrupted=failure is not None,
    )
    return run, failure
