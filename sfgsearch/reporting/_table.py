"""A table as plain text, laid out for terminals, web pages and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from rich import box
from rich.console import Console
from rich.markup import escape as escape_rich
from rich.table import Table as RichTable

_SPECIAL = re.compile(r"[\\`*{}\[\]<>#|~$]|(?<!\w)_|_(?!\w)")

WIDEST = 10_000
"""Columns of a console that shows every table whole."""


def escape_markdown(text: str) -> str:
    """Return a text that Markdown shows literally, in one line."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: Its title in one or more short parts, such as task and metric, each a line of its own in a terminal.
        unit: What its numbers are written in.
        is_text: Whether it holds words, which fold where space is short, rather than numbers, which stay whole.
    """

    title: str | tuple[str, ...]
    unit: str = ""
    is_text: bool = False

    @property
    def _parts(self) -> tuple[str, ...]:
        return (self.title,) if isinstance(self.title, str) else self.title

    def __str__(self) -> str:
        return ", ".join(filter(None, (" ".join(self._parts), self.unit)))

    @property
    def rich(self) -> str:
        """The title as rich's markup."""
        unit = [f"[dim]{escape_rich(self.unit)}[/dim]"] if self.unit else []
        return "\n".join([*map(escape_rich, self._parts), *unit])


def text(title: str) -> Column:
    """Return a column of words."""
    return Column(title, is_text=True)


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        title: What it shows.
        columns: Its columns.
        rows: Cells as plain text, one per column.
        note: What to know when reading it.
        keys: How many columns, from the left, say what a row is about; each part of a table that is too wide for its
            terminal begins with them.
        is_grouped: Whether rows of equal first cells belong together: terminals show that cell once, and a rule after
            each group.
        is_detail: Whether pages show it folded up.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    note: str = ""
    keys: int = 1
    is_grouped: bool = False
    is_detail: bool = False

    def to_rich(self, console: Console) -> list[RichTable]:
        """Return the table for a terminal, in several parts if it would not fit.

        Args:
            console: The terminal.
        """
        whole = self._rich()
        # Words may fold, numbers may not.
        if console.measure(whole, options=console.options.update(width=WIDEST)).minimum <= console.width:
            return [whole]
        return [self._select(columns)._rich() for columns in self._parts(console)]

    def to_html(self) -> str:
        """Return an HTML ``table`` element."""
        from markupsafe import escape

        def cells(tag: str, row: Iterable[object]) -> str:
            marks = (' class="word"' if column.is_text else "" for column in self.columns)
            return "".join(f"<{tag}{mark}>{escape(cell)}</{tag}>" for mark, cell in zip(marks, row, strict=True))

        body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in self.rows)
        return f"<table>\n<thead><tr>{cells('th', self.columns)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"

    def to_markdown(self) -> str:
        """Return a Markdown table."""
        rule = ("---" if column.is_text else "--:" for column in self.columns)
        escaped = [[escape_markdown(str(cell)) for cell in row] for row in (self.columns, *self.rows)]
        lines = [f"| {' | '.join(row)} |" for row in escaped]
        return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])

    def _parts(self, console: Console) -> Iterator[list[int]]:
        """Yield the columns of parts that fit, each with the keys; every part has at least one other column."""
        keys = list(range(self.keys))
        chosen: list[int] = []
        for index in range(self.keys, len(self.columns)):
            part = self._select([*keys, *chosen, index])._rich()
            measured = console.measure(part, options=console.options.update(width=WIDEST))
            if chosen and measured.maximum > console.width:
                yield [*keys, *chosen]
                chosen = []
            chosen.append(index)
        yield [*keys, *chosen]

    def _select(self, indices: Sequence[int]) -> Table:
        rows = [[row[index] for index in indices] for row in self.rows]
        return replace(self, columns=[self.columns[index] for index in indices], rows=rows)

    def _rich(self) -> RichTable:
        table = RichTable(
            title=escape_rich(self.title),
            caption=escape_rich(self.note) or None,
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
        )
        for index, column in enumerate(self.columns):
            if not column.is_text:
                table.add_column(column.rich, justify="right", no_wrap=True)
            elif index < self.keys:
                table.add_column(column.rich, overflow="fold", min_width=min(8, len(str(column)) + 4))
            else:
                table.add_column(column.rich, overflow="fold")
        before = None
        for row, following in zip(self.rows, chain(self.rows[1:], [[""]]), strict=True):
            first = "" if self.is_grouped and row[0] == before else row[0]
            before = row[0]
            ends = self.is_grouped and following[0] != row[0]
            table.add_row(*map(escape_rich, (first, *row[1:])), end_section=ends)
        return table
