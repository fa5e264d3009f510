"""What every page of ours is made of: the frame, tables, boxes, and figures as text.

A page loads nothing, and its content policy forbids it to; it follows the reader's light or dark
theme. All text that comes from elsewhere is escaped here.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources

from lenet_bench.html.looks import HUES

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)


def document(title: str, parts: Iterable[str], scripts: Iterable[str] = ()) -> str:
    """A whole page.

    Args:
        title: Of the page, as text.
        parts: The HTML of the body.
        scripts: HTML after the body: ``<script>`` elements.
    """
    body = "\n".join([*parts, *scripts])
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>
:root {{ {_hues(0)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_hues(1)} }} }}
{file("page.css")}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def _hues(theme: int) -> str:
    return " ".join(f"--{name}: {values[theme]};" for name, values in HUES.items())


def file(name: str) -> str:
    """The text of a file beside this one."""
    return resources.files("lenet_bench.html").joinpath(name).read_text("utf-8").strip()


def alert(text: str, kind: str = "") -> str:
    """A box that nobody overlooks; ``good`` is the kind of one that does not warn."""
    return f'<p class="{f"alert {kind}".strip()}" role="note">{escape(text)}</p>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of what is known: name and value, where the value is HTML."""
    rows = (f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in pairs)
    return f'<dl class="facts">{"".join(rows)}</dl>'


def digest(value: str) -> str:
    """The first digits of a SHA-256, and a button that copies all of them."""
    if not value:
        return ""
    whole = escape(value)
    return (
        f'<span class="digest" title="{whole}"><code>{escape(value[:12])}</code>'
        f'<button type="button" data-copy="{whole}" aria-label="copy {whole}">copy</button></span>'
    )


def row(name: str, cells: Iterable[str], kind: str = "") -> str:
    """A row of a table: a name, then the cells, all text; `kind` is its class."""
    return row_of(escape(name), map(escape, cells), kind)


def row_of(name: str, cells: Iterable[str], kind: str = "") -> str:
    """A row of a table whose name and cells are HTML."""
    rest = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr class="{kind}"><td class="name">{name}</td>{rest}</tr>'


def as_table(heads: Sequence[str], rows: Iterable[str], kind: str = "") -> str:
    """A table that scrolls by itself on a narrow screen; rows are HTML, heads are text."""
    head = "".join(
        f"<th{' class=name' * (not place)}>{escape(name)}</th>" for place, name in enumerate(heads)
    )
    body = "\n".join(rows)
    table = f'<table class="{kind}"><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def listed(skipped: Iterable[Mapping[str, str]]) -> str:
    """A list of engines that were skipped, each with its reason."""
    items = (f"<li>{escape(s['engine'])}: {escape(s['reason'])}</li>" for s in skipped)
    return f"<ul>{''.join(items)}</ul>"


def shown(value: float | None) -> str:
    """At most four digits behind the first, as many as a latency is good for."""
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.1f}" if value >= 1 else f"{value:.3f}"


def digits(value: float) -> str:
    """Three digits, and all before the point."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
