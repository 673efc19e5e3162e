"""Where commands print their results."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from sfgsearch.reporting import WIDEST, Table


def result_console() -> Console:
    """Return the console of standard output; files and pipes are as wide as tables need."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDEST
    return console


def print_tables(console: Console, tables: Iterable[Table]) -> None:
    """Print tables, in parts where the console is too narrow."""
    for table in tables:
        for part in table.to_rich(console):
            console.print(part)
