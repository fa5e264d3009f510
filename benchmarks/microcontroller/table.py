"""The results as Markdown."""

from typing import Any

_HEADER = (
    "| | instructions an image | times ours | flash | RAM + stack | times ours | right of 60 |\n"
    "|---|---:|---:|---:|---:|---:|---:|\n"
)


def markdown(document: dict[str, Any]) -> str:
    """A table for each core and precision, each participant at the level that is its fastest."""
    rows = document["rows"]
    parts = [f"# LeNet on microcontrollers, {document['date']}\n\n", _INTRODUCTION]
    for precision in ("int8", "fp32"):
        for core in dict.fromkeys(row["core"] for row in rows):
            parts.append(_table(rows, core, precision))
    lines = [f"- {name}: {version}\n" for name, version in document["versions"].items()]
    parts += ["## What was measured\n\n", *lines, f"\n`{document['command']}`\n"]
    return "".join(parts)


_INTRODUCTION = """\
Executed instructions, counted by a QEMU plugin; not time: an instruction may take more than one
cycle. Each at the fastest of `-O2`, `-O3` and `-Os`. Flash is code, weights and constants;
RAM is static variables and the deepest stack of a classification. All have the same weights and
the same 60 digits; of int8, the peers' quantisation is TensorFlow's, ours is our own.

"""


def _table(rows: list[dict[str, Any]], core: str, precision: str) -> str:
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        if (row["core"], row["precision"]) == (core, precision):
            other = best.setdefault(row["participant"], row)
            if row["instructions_per_image"] < other["instructions_per_image"]:
                best[row["participant"]] = row
    if not best:
        return ""
    ours = best.get(f"ours-{precision}", next(iter(best.values())))
    title = f"## {ours['core_title']}, {precision} (`{ours['machine']}`)\n\n"
    lines = (_line(row, ours) for row in best.values())
    return title + _HEADER + "".join(lines) + "\n"


def _line(row: dict[str, Any], ours: dict[str, Any]) -> str:
    count = row["instructions_per_image"]
    return (
        f"| {row['title']}, `{row['level']}` | {count:,} "
        f"| {count / ours['instructions_per_image']:.2f} | {row['flash_bytes']:,} "
        f"| {row['static_bytes']:,} + {row['stack_bytes']:,} | {_ram(row) / _ram(ours):.2f} "
        f"| {row['right_of_60']} |\n"
    )


def _ram(row: dict[str, Any]) -> int:
    return int(row["static_bytes"] + row["stack_bytes"])
