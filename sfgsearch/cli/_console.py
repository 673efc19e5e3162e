"""Where commands print their results."""

from __future__ import annotations

from rich.console import Console

from sfgsearch.reporting import WIDEST


def result_console() -> Console:
    """Return the console of standard output; files and pipes are as wide as tables need."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDEST
    return console
