"""What a benchmark gives: numbers, tables, and goals that are met or missed; and how it is run as a command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import click
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

from sfgsearch.reporting import to_json
from tests.benchmarks.machine import Machine
from tests.benchmarks.site import Site, open_site


@dataclass(frozen=True)
class Goal:
    """One ratio beside what it should be.

    Args:
        line: The sentence that says both.
        ratio: What was measured.
        goal: What it is compared with.
        is_met: Whether it reaches the goal; None if the measurement is too coarse to tell.
    """

    line: str
    ratio: float
    goal: float
    is_met: bool | None

    def __str__(self) -> str:
        """Return the sentence and the verdict."""
        return f"{self.line}: {_VERDICTS[self.is_met]}"


_VERDICTS = {True: "met", False: "MISSED", None: "not resolved"}


class Result(Protocol):
    """What a benchmark measured."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""

    def tables(self) -> Iterator[RenderableType]:
        """Yield what people read before the goals."""

    def goals(self) -> Sequence[Goal]:
        """Return the ratios that have a goal."""


def run_benchmark(measure: Callable[[Site], Result], storage: str | None, *, as_json: bool) -> None:
    """Measure something and print it, with the machine that it was measured on.

    Args:
        measure: What is measured at a site.
        storage: The URL of a database server; None starts a PostgreSQL.
        as_json: Whether to print JSON.
    """
    machine = Machine.now()
    with open_site(storage, lambda line: click.echo(line, err=True)) as site:
        result, database = measure(site), site.database
    if as_json:
        goals = [{"line": str(g), "ratio": g.ratio, "goal": g.goal, "met": g.is_met} for g in result.goals()]
        found = {"machine": machine.to_dict(), "database": database, **result.to_dict(), "goals": goals}
        click.echo(to_json(found))
        return
    console = Console()
    console.print(f"{machine}; {database}", highlight=False, markup=False)
    for table in result.tables():
        console.print(table)
    for goal in result.goals():
        console.print(str(goal), highlight=False, markup=False)


storage_option = click.option("--storage", metavar="URL", help="A PostgreSQL or MySQL server; else one is started.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def new_table(title: str, *columns: str) -> Table:
    """Return an empty table; the first column stands left, the others right."""
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table
