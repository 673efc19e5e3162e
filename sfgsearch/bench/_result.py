"""What every benchmark gives: numbers, tables, and goals that are met or missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rich import box
from rich.console import RenderableType
from rich.table import Table


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


def new_table(title: str, *columns: str) -> Table:
    """Return an empty table; the first column stands left, the others right."""
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table
