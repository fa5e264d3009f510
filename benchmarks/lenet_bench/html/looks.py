"""How each engine is drawn: alike in every report, whoever else takes part in it.

The backend gives the hue and the marker, so that no reader depends on colour alone; the precision
gives the dash, and the number of threads fills the marker or leaves it hollow.
"""

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from lenet_bench.report import Run

# Each hue on a light and on a dark page. The first six are Okabe and Ito's, which stay apart for
# every kind of colour vision, darkened where white paper would swallow them.
HUES = {
    "ink": ("#1c2127", "#e6e9ee"),
    "vermilion": ("#d55e00", "#ff8b3d"),
    "blue": ("#0072b2", "#4aa8f0"),
    "green": ("#008f68", "#2fc89b"),
    "pink": ("#b9538f", "#e79ac8"),
    "amber": ("#c28100", "#f2b233"),
    "sky": ("#2d94cf", "#85ccf5"),
    "violet": ("#6a4fc8", "#a796f5"),
    "olive": ("#77771a", "#c3c34a"),
    "wine": ("#882255", "#d4679b"),
    "teal": ("#117777", "#4fc0c0"),
    "brown": ("#8c564b", "#c49a8f"),
    "slate": ("#5b6b7b", "#9fb0c2"),
}
BACKENDS = {
    "eager": ("ink", "circle"),
    "native": ("vermilion", "square"),
    "ort-cpu": ("blue", "triangle-up"),
    "node": ("teal", "square"),
    "torchscript": ("green", "diamond"),
    "torch-compile": ("pink", "triangle-down"),
    "fused-cuda": ("amber", "square"),
    "ort-cuda": ("sky", "triangle-up"),
    "ort-tensorrt": ("violet", "cross"),
    "tensorrt": ("olive", "star"),
}
# What no table knows, such as a foreign engine, takes one of these by its name.
_OTHERS = list(product(("wine", "teal", "brown", "slate"), ("x", "cross", "star", "diamond")))
_DASHES = {"fp32": "solid", "tf32": "longdash", "fp16": "dash", "bf16": "dashdot", "int8": "dot"}
# Lengths of strokes and gaps, as SVG takes them.
_STROKES = {
    "solid": "", "longdash": "9 3", "dash": "5 3", "dashdot": "6 2 1.5 2", "dot": "2 2.5",
    "longdashdot": "9 2 1.5 2",
}  # fmt: skip
_GLYPHS = {
    "circle": "●○", "square": "■□", "triangle-up": "▲△", "diamond": "◆◇", "triangle-down": "▼▽",
    "cross": "✚✛", "x": "✖✕", "star": "★☆",
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How one engine is drawn.

    Attributes:
        hue: A key of `HUES`.
        marker: Plotly's name of the marker, ``square-open`` for instance.
        dash: Plotly's name of the line's dash.
    """

    hue: str
    marker: str
    dash: str

    @property
    def colour(self) -> str:
        """The hue as a CSS variable, which the page's light and dark themes define."""
        return f"var(--{self.hue})"

    @property
    def glyph(self) -> str:
        """The marker as a character."""
        shape, _, fill = self.marker.removesuffix("-dot").partition("-open")
        hollow = self.marker.endswith(("-open", "-open-dot"))
        return _GLYPHS[shape + fill][hollow]

    @property
    def swatch(self) -> str:
        """A piece of the line with its marker, as HTML."""
        return (
            f'<svg class="swatch" width="30" height="14" aria-hidden="true" fill="{self.colour}">'
            f'<path d="M0 7H30" stroke="{self.colour}" stroke-width="2" '
            f'stroke-dasharray="{_STROKES[self.dash]}"/>'
            f'<text x="15" y="12" text-anchor="middle">{self.glyph}</text></svg>'
        )


def looks(run: Run) -> dict[str, Look]:
    """A look for each engine that was measured, in the order of measurement; no two are equal."""
    return looks_of((result.engine for result in run.results), run.engines)


def looks_of(names: Iterable[str], records: Mapping[str, Mapping[str, Any]]) -> dict[str, Look]:
    """A look for each name, by what the records say of it."""
    chosen: dict[str, Look] = {}
    for name in dict.fromkeys(names):
        taken = set(chosen.values())
        own = _candidates(name, records.get(name, {}))
        chosen[name] = next(look for look in own if look not in taken)
    return chosen


def _candidates(name: str, details: Mapping[str, Any]) -> Iterator[Look]:
    """The engine's own look, then others of its hue, then others for as long as it takes."""
    backend = str(details.get("backend") or re.split("[: ]", name, maxsplit=1)[0])
    hue, marker = BACKENDS.get(backend) or _OTHERS[zlib.crc32(name.encode()) % len(_OTHERS)]
    dash = _DASHES.get(str(details.get("precision")), "solid")
    fill = "" if details.get("threads") in (1, None) else "-open"
    yield Look(hue, marker + fill, dash)
    fills, dashes = (fill, "-open-dot", "-dot"), (dash, *_DASHES.values(), "longdashdot")
    for other_fill, other_dash in product(fills, dashes):
        yield Look(hue, marker + other_fill, other_dash)
    for other_hue, other_marker, other_dash in product(HUES, _GLYPHS, dashes):
        yield Look(other_hue, other_marker, other_dash)
