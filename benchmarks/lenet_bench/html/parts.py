"""What the page is made of: plots under a heading, tables, figures as text."""

from collections.abc import Iterable, Sequence
from html import escape

from lenet_bench.html import style


def plot(title: str, figure: style.Figure | None, note: str, control: str = "") -> Iterable[str]:
    """A plot under its heading; nothing where there is none."""
    if figure is None:
        return
    name = title.lower().replace(" ", "-")
    yield f'<h2>{title}</h2>\n<p class="note">{note} {control}</p>'
    yield figure.to_html(
        config=style.CONFIG,
        include_plotlyjs=False,
        full_html=False,
        default_height=f"{figure.layout.height}px",
        div_id=name,
    )


def as_table(heads: Sequence[str], rows: Iterable[str]) -> str:
    """A table that scrolls by itself on a narrow screen; rows are HTML, heads are text."""
    head = "".join(
        f"<th{' class=name' if i == 0 else ''}>{escape(text)}</th>" for i, text in enumerate(heads)
    )
    body = "\n".join(rows)
    table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def shown(value: float | None) -> str:
    """At most four digits behind the first, as many as a latency is good for."""
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.1f}" if value >= 1 else f"{value:.3f}"
