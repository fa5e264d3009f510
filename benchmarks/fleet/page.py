"""Writes the tables and the figure of `docs/scale.md`; its prose is written by hand.

A table stands between ``<!-- NAME -->`` and ``<!-- end -->``.
"""

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.fleet import costs, picture, sizing, table

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
ARITHMETIC = ("compute", "serving", "savings", "recorded")
MARKED = re.compile(r"<!-- ([a-z]+) -->\n.*?<!-- end -->", re.DOTALL)


def tables(core_price: float, gpu_price: float) -> dict[str, Callable[[], str]]:
    """Each table by its name; those of the simulation take a minute each."""
    recorded = costs.newest()
    bodies = recorded["bodies"]
    return {
        "compute": lambda: costs.compute(core_price, gpu_price),
        "serving": lambda: costs.serving(core_price),
        "savings": costs.savings,
        "recorded": lambda: table.recorded(recorded).rstrip(),
        "load": lambda: sizing.p99_by_load(bodies["binary"]),
        "sizes": lambda: sizing.sizes(bodies["binary"]),
        "events": lambda: sizing.events(bodies["24 as JSON"], recorded["dying_ms"]),
        "growth": lambda: sizing.growth(bodies["24 as JSON"]),
    }


def write(core_price: float, gpu_price: float, *, quick: bool = False) -> None:
    """Write all of them, or those that need no simulation."""
    made = tables(core_price, gpu_price)

    def fill(found: re.Match[str]) -> str:
        if quick and found[1] not in ARITHMETIC:
            return found[0]
        return f"<!-- {found[1]} -->\n{made[found[1]]()}\n<!-- end -->"

    PAGE.write_text(MARKED.sub(fill, PAGE.read_text()))
    if not quick:
        picture.draw(costs.newest(), PAGE.with_name("scale.svg"))
