"""The table of all commands: it fits any terminal, names stay, and numbers are never cut."""

import pytest
from rich.console import Console

from lenet_deploy.cli.console import table

NAME = "torch-compile-fp32 on torch-compile"
ROW = {"batch": "512", "p50": "12.1", "p90": "13.2", "p99": "[red]14.3[/]", "images/s": "99,999"}


@pytest.fixture
def lines():
    """`lines(columns, name=NAME)`: what a terminal of so many columns shows."""

    def show(columns, name=NAME):
        shown = table(
            "engine", *ROW, drop=("p90", "images/s", "p99"), title="Latency", caption="NumPy in",
            legend={"p50": "half are faster", "p90": "nine of ten are faster"},
        )  # fmt: skip
        shown.add_row(name, *ROW.values())
        shown.add_section()
        shown.add_row("native", *ROW.values())
        console = Console(width=columns, color_system=None)
        with console.capture() as captured:
            console.print(shown)
        return captured.get().splitlines()

    return show


@pytest.mark.parametrize("columns", [20, 30, 40, 50, 60, 70, 80, 200])
@pytest.mark.parametrize("name", [NAME, "x", "w" * 300])
def test_whatever_the_width_names_stay_and_numbers_are_whole(lines, columns, name):
    shown = lines(columns, name)
    assert max(map(len, shown)) <= columns
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown if "│" in line]
    names = "".join(row[0] for row in rows)
    assert names.replace(" ", "") == f"{name}native".replace(" ", "")
    numbers = {cell for row in rows for cell in row[1:]} - {""}
    assert numbers <= {"512", "12.1", "13.2", "14.3", "99,999"}
    assert columns < 30 or {"512", "12.1"} <= numbers  # never dropped where they have room


def test_columns_go_in_their_order_before_a_name_folds(lines):
    def headings(columns):
        return [h.strip() for h in lines(columns)[2].split("┃")[2:-1]]

    assert headings(200) == list(ROW)
    assert headings(79) == ["batch", "p50", "p90", "p99", "images/s"]
    assert headings(70) == ["batch", "p50", "p99", "images/s"]
    assert headings(60) == ["batch", "p50", "p99"]
    assert headings(50) == ["batch", "p50"]
    assert headings(30) == ["batch", "p50"]  # and the name folds


def test_the_legend_explains_what_is_shown_alone(lines):
    assert lines(200)[-3:] == ["NumPy in", "p50: half are faster", "p90: nine of ten are faster"]
    assert lines(60)[-2:] == ["NumPy in", "p50: half are faster"]


def test_a_table_without_rows_is_its_headings():
    console = Console(width=80)
    with console.capture() as captured:
        console.print(table("engine", "batch"))
    assert "engine" in captured.get()
