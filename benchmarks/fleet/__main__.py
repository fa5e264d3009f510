"""A fleet of `lenet-deploy serve`, simulated with service times that were measured.

record   measure a real server here, and hold the simulation against it: three minutes, two cores
table    print what was recorded
simulate one scenario
page     write the tables and the figure of docs/scale.md again: three minutes
"""

import argparse
import sys
from pathlib import Path

from benchmarks.fleet import balance, costs, page, record, table
from benchmarks.fleet.simulate import simulate


def main() -> int:
    arguments = parse()
    if arguments.action == "record":
        path = record.record(arguments)
        text = table.recorded(costs.read(str(path.resolve())))
        path.with_suffix(".md").write_text(text)
        print(text)
        print(f"wrote {path}", file=sys.stderr)
    elif arguments.action == "table":
        print(table.recorded(costs.newest()))
    elif arguments.action == "page":
        page.write(arguments.core_price, arguments.gpu_price, quick=arguments.quick)
    else:
        print(simulated(arguments))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleet", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    real = actions.add_parser("record", help="measure a real server here")
    real.add_argument("artifact", type=Path, help="a native artifact")
    real.add_argument("--windows", type=int, default=8, metavar="N", help="at each rate")
    real.add_argument("--seconds", type=float, default=0.3, metavar="S", help="of a window")
    real.add_argument("--kills", type=int, default=6, metavar="N")
    real.add_argument("--json", type=Path, metavar="FILE")
    actions.add_parser("table", help="print what was recorded")
    doc = actions.add_parser("page", help="write the tables of docs/scale.md again")
    doc.add_argument("--core-price", type=float, default=costs.CORE_PRICE, metavar="PRICE",
                     help="of a core for an hour; default %(default)s, an example")  # fmt: skip
    doc.add_argument("--gpu-price", type=float, default=costs.GPU_PRICE, metavar="PRICE")
    doc.add_argument("--quick", action="store_true", help="only what needs no simulation")
    one = actions.add_parser("simulate", help="one scenario")
    one.add_argument("--request", default="binary", metavar="NAME", help="binary, or '24 as JSON'")
    one.add_argument("--rate", type=float, required=True, metavar="N", help="requests a second")
    one.add_argument("--seconds", type=float, default=5.0, metavar="S")
    one.add_argument("--replicas", type=int, default=1, metavar="N")
    one.add_argument("--workers", type=int, default=1, metavar="N", help="of each replica")
    one.add_argument("--balance", choices=balance.POLICIES[:3], default="two-choices")
    one.add_argument("--limit", type=int, default=16384, metavar="N", help="under way, then 503")
    one.add_argument("--retries", type=int, default=0, metavar="N")
    one.add_argument("--kill", type=float, action="append", default=[], metavar="S", help="when")
    one.add_argument("--notice", type=float, default=1.0, metavar="S", help="until it is noticed")
    one.add_argument("--update", type=float, metavar="S", help="when a rolling update begins")
    one.add_argument("--drain", type=float, default=5.0, metavar="S")
    one.add_argument("--autoscale", type=float, metavar="N", help="aim: requests under way each")
    one.add_argument("--seed", type=int, default=0, metavar="N")
    return parser.parse_args()


def simulated(arguments: argparse.Namespace) -> str:
    """What comes of a scenario."""
    recorded = costs.newest()
    outcome = simulate(record.scenario(
        recorded["bodies"][arguments.request],
        rates=((0, arguments.rate),), seconds=arguments.seconds, replicas=arguments.replicas,
        workers=arguments.workers, balance=arguments.balance, limit=arguments.limit,
        retries=arguments.retries, kills=tuple(arguments.kill), notice=arguments.notice,
        dying=recorded["dying_ms"] / 1e3, update=arguments.update, drain=arguments.drain,
        target=arguments.autoscale, seed=arguments.seed,
    ))  # fmt: skip
    p50, p99, most = (f"{outcome.percentile_us(p):,.0f}" for p in (50, 99, 99.9))
    replicas = " ".join(f"{count} from {moment:.1f} s" for moment, count in outcome.replicas)
    return (
        f"requests {len(outcome.due):,}, answered {outcome.answered_per_second:,.0f}/s, "
        f"lost {outcome.lost:,}, refused {outcome.refused:,}, broken {outcome.broken:,}\n"
        f"p50 {p50} us, p99 {p99} us, p99.9 {most} us\nreplicas: {replicas}"
    )


if __name__ == "__main__":
    sys.exit(main())
