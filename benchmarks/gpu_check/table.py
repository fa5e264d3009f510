"""The Markdown of a record: ``python -m benchmarks.gpu_check.table RESULT.json``."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lenet_bench import report
from lenet_bench.gpu.result import BYTES_PER_IMAGE, MOSTLY, DeviceResult, DeviceSection
from lenet_bench.report import Run

Cell = Callable[[str, int], str]


def markdown(record: dict[str, Any]) -> str:
    """The whole page."""
    run = None if record["latency"] is None else report.from_dict(record["latency"])
    section = None if run is None else run.device
    parts = [*head(record, section), *goal_lines(record), *parity_lines(record)]
    if run is not None and section is not None:
        parts += latency_lines(run, section)
    return "\n".join([*parts, *sanitizer_lines(record), *skipped_lines(record, run)])


def head(record: dict[str, Any], section: DeviceSection | None) -> list[str]:
    """What was measured on what, and how it ended."""
    gpu = record["gpu"]
    software = ", ".join(f"{name} {v}" for name, v in record["versions"].items() if v)
    lines = [
        f"# {gpu['name']}, {record['date']}",
        "",
        f"Compute capability {gpu['compute_capability']}, {gpu['multiprocessors']} "
        f"multiprocessors, {gpu['memory_bytes'] / 2**30:.0f} GiB, CUDA {gpu['driver']} of the "
        f"driver. {software}.",
        "",
        f"`{record['command']}`, {record['seconds']:.0f} s.",
    ]
    if record["interrupted"]:
        lines += ["", "**Interrupted: this is what was known by then.**"]
    if record["failures"]:
        lines += ["", f"**Failed: {', '.join(record['failures'])}.**"]
    return lines if section is None else [*lines, "", *state_lines(section)]


def state_lines(section: DeviceSection) -> list[str]:
    """Memory's speed, power and clocks."""
    lines = []
    if section.bytes_per_second:
        lines.append(
            f"A copy of {(section.copy_bytes or 0) / 2**30:.1f} GiB within the GPU moves "
            f"{section.bytes_per_second / 1e12:.2f} TB/s, read and written: the memory bound, "
            f"{section.bytes_per_second / BYTES_PER_IMAGE:,.0f} images/s of "
            f"{BYTES_PER_IMAGE} bytes."
        )
    during = section.state.get("during") or {}
    if not during.get("samples"):
        reason = (section.state.get("before") or {}).get("reason", "no samples")
        return [*lines, "", f"Power and clocks: unknown ({reason})."]
    facts = [
        f"{text} {during[key]['p50']:.0f} {unit} "
        f"({during[key]['min']:.0f} to {during[key]['max']:.0f})"
        for key, (text, unit) in STATE.items()
        if during.get(key)
    ]
    reasons = ", ".join(during["throttle_reasons"]) or "none"
    return [*lines, "", f"During the latency: {'; '.join(facts)}; clocks limited by: {reasons}."]


STATE = {
    "power_w": ("power", "W"),
    "sm_mhz": ("SM clock", "MHz"),
    "memory_mhz": ("memory clock", "MHz"),
    "temperature_c": ("temperature", "C"),
}


def goal_lines(record: dict[str, Any]) -> list[str]:
    """Each goal with yes, no, or that it was not measured."""
    rows = [
        [goal["text"], goal["precision"], MET[goal["met"]], goal["found"]]
        for goal in record["goals"]
    ]
    lines = table(["goal", "precision", "met", "found"], rows, "---")
    return ["", "## Goals", "", *(lines if rows else ["No latency was measured."])]


MET = {True: "**yes**", False: "no", None: "unknown"}


def parity_lines(record: dict[str, Any]) -> list[str]:
    """For each engine the worst share of its tolerance, by batch size."""
    results = {name: outcome["result"] for name, outcome in record["parity"].items()}
    compared = {
        name: [*result.get("comparisons", ()), *result.get("steps", ())]
        for name, result in results.items()
    }
    sizes = sorted({row["batch_size"] for rows in compared.values() for row in rows})
    cells = [
        [name, record["parity"][name]["verdict"], *(share_cell(rows, size) for size in sizes)]
        for name, rows in compared.items()
    ]
    lines = ["", "## Parity", "", *table(["engine", "verdict", *map(str, sizes)], cells)]
    lines += ["", "The worst of noise and digits, whole calls and steps, as a share of what the "]
    lines[-1] += "precision's tolerance allows: above 100% is a failure."
    for name, rows in compared.items():
        lines += [
            f"- {name}, {row['inputs']} at batch {row['batch_size']}: {row['reason']}"
            for row in [row for row in rows if row["reason"]][:3]
        ]
    return lines


def share_cell(rows: list[dict[str, Any]], size: int) -> str:
    """The worst share at a batch size; bold where a comparison failed."""
    rows = [row for row in rows if row["batch_size"] == size]
    if any(row["worst_share"] is None for row in rows):
        return "**failed**"
    text = percent(max(row["worst_share"] for row in rows)) if rows else ""
    return f"**{text}**" if any(row["reason"] for row in rows) else text


def latency_lines(run: Run, section: DeviceSection) -> list[str]:
    """The tables of figures, by engine and batch size."""

    def steps(figure: str, graph: bool) -> Cell:
        def cell(engine: str, size: int) -> str:
            result = section.find(engine, size, graph=graph)
            return "" if result is None else us(result.p50_us(figure)) + mark(result, figure)

        return cell

    def whole(engine: str, size: int) -> str:
        result = run.find(engine, size)
        return "" if result is None else us(result.percentile_us(50))

    def best(text: Callable[[DeviceResult], str]) -> Cell:
        def cell(engine: str, size: int) -> str:
            result = section.best(engine, size)
            return "" if result is None else text(result)

        return cell

    rate = section.bytes_per_second or float("inf")
    parts = [
        (f"{what}, {'with a' if graph else 'without a'}{' CUDA' * (graph and cuda)} graph "
         f"(`{figure}`, us)", steps(figure, graph))
        for what, figure, cuda in FIGURE_TITLES for graph in (False, True)
    ]  # fmt: skip
    parts += [
        ("Host to host (`end_to_end`, us)", whole),
        ("Images/s of the GPU alone, the better of both", best(lambda r: big(r.images_per_second))),
        ("Share of the memory bound", best(lambda r: percent(r.bytes_share(rate)))),
    ]
    lines = ["", "## Latency", "", "Medians. The fastest of a column is bold."]
    for title, cell in parts:
        lines += ["", f"### {title}", "", *by_size(run, section, cell, bold="us)" in title)]
    lines += [
        "",
        "~ not all launches were queued in time, so it is the host's rate, not the GPU's.",
    ]
    return lines + split_lines(run, section)


FIGURE_TITLES = (
    ("The GPU alone", "device", True),
    ("One launch on an idle stream", "device_single", False),
    ("The host's time in a launch", "launch", False),
)


def by_size(run: Run, section: DeviceSection, cell: Cell, *, bold: bool) -> list[str]:
    """A row for each engine, a column for each batch size."""
    sizes = sorted({r.batch_size for r in (*run.results, *section.results)})
    rows = [[name, *(cell(name, size) for size in sizes)] for name in run.engines]
    rows = [row for row in rows if any(row[1:])]
    for column in range(1, len(sizes) + 1) if bold else ():
        known = [row for row in rows if row[column]]
        if len(known) > 1:
            fastest = min(known, key=lambda row: number(row[column]))
            fastest[column] = f"**{fastest[column]}**"
    return table(["engine", *map(str, sizes)], rows) if rows else ["Not measured."]


def split_lines(run: Run, section: DeviceSection) -> list[str]:
    """Where the time of a whole call goes."""
    rows = [
        [
            one.engine, str(one.batch_size), "yes" if one.graph else "no", us(one.end_to_end_us),
            us(one.python_us), us(one.launch_us), us(one.copy_us), us(one.compute_us),
        ]
        for one in sorted(section.splits(run.results), key=lambda one: one.batch_size)
    ]  # fmt: skip
    heads = ["engine", "batch", "graph", "end to end", "Python", "launch", "copy", "compute"]
    return [
        "", "### Where the time of a call goes (us)", "",
        "`end to end = Python + launch + copy + compute`: compute is `device`, launch is "
        "`device_single - device`, copy is `upload + download`, and Python is the rest. Steps that "
        "overlap make the rest too small, even negative.",
        "", *(table(heads, rows) if rows else ["Not measured."]),
    ]  # fmt: skip


def sanitizer_lines(record: dict[str, Any]) -> list[str]:
    """What compute-sanitizer said."""
    words = {True: "no errors", False: "**errors**", None: "not finished"}
    rows = [[s["tool"], s["engine"], words[s["ok"]], s["reason"]] for s in record["sanitizer"]]
    if not rows:
        return []
    return ["", "## compute-sanitizer", "", *table(["tool", "engine", "", "reason"], rows, "---")]


def skipped_lines(record: dict[str, Any], run: Run | None) -> list[str]:
    """What was not done and why; equal reasons of one thing once."""
    items = [f"- {entry['what']}: {entry['reason']}" for entry in record["skipped"]]
    if run is not None:
        items += [f"- latency of {s['engine']}: {s['reason']}" for s in run.skipped]
    return ["", "## Skipped", "", *(dict.fromkeys(items) or ["Nothing."])]


def table(heads: list[str], rows: Iterable[list[str]], align: str = "---:") -> list[str]:
    """A Markdown table, its first column to the left."""
    lines = [line(heads), line(["---", *[align] * (len(heads) - 1)])]
    return lines + [line([cell.replace("|", "\\|") for cell in row]) for row in rows]


def line(cells: list[str]) -> str:
    """One row."""
    return f"| {' | '.join(cells)} |"


def us(value: float) -> str:
    """Microseconds with as many digits as they are good for."""
    return f"{value:,.{2 - (abs(value) >= 100) - (abs(value) >= 1000)}f}"


def percent(share: float) -> str:
    """A share with three digits at most."""
    return f"{share:.1%}" if share >= 0.1 else f"{share:.2%}"


def mark(result: DeviceResult, figure: str) -> str:
    """What `device` is where launches were not hidden."""
    return " ~" if figure == "device" and result.hidden_share < MOSTLY else ""


def number(text: str) -> float:
    """What `us` wrote."""
    return float(text.replace(",", "").removesuffix(" ~"))


def big(value: float) -> str:
    """A rate."""
    return f"{value / 1e6:,.1f} M" if value >= 1e6 else f"{value:,.0f}"


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
