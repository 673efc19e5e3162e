"""CSV files with a row for every picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sfgsearch.data._rows import bad_rows
from sfgsearch.errors import DataError

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Table:
    """Columns of a CSV file.

    Args:
        columns: The cells of each column from top to bottom, without blanks around them.
        lines: The line of the file in which each row ends.
    """

    columns: Mapping[str, list[str]]
    lines: list[int]


def read_table(file: Path, columns: Sequence[str]) -> Table:
    """Read columns of a CSV file with a header.

    Args:
        file: The file, in UTF-8.
        columns: Which columns; others may hold anything but line breaks.

    Raises:
        DataError: If the file is no such table: the error names the line and the remedy.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.reader(opened, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            _check_header(file, header, columns)
            read = [(reader.line_num, cells) for cells in reader if cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        where = f"line {reader.line_num}: " if isinstance(error, csv.Error) else ""
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"table: cannot read {file} ({where}{reason}); a CSV file in UTF-8 is wanted") from error
    if not read:
        raise DataError(f"{file} has a header and no rows")
    problems = [
        f"line {line} ({len(cells)} cells for {len(header)} columns)"
        for line, cells in read
        if len(cells) != len(header)
    ]
    if problems:
        raise bad_rows(
            problems,
            f'in {file} separate cells by commas, write decimals with a point, and text that holds a comma in "quotes"',
        )
    problems = [  # in any column: a text whose quotes end nowhere swallows the rows up to the next quotes
        f"line {line} (a line break in column {column!r})"
        for line, cells in read
        for column, cell in zip(header, cells, strict=True)
        if len(cell.strip().splitlines()) > 1
    ]
    if problems:
        raise bad_rows(problems, f'close the "quotes" in {file} where a text ends, or write texts in one line')
    places = {column: header.index(column) for column in columns}
    cells = {column: [cells[place].strip() for _, cells in read] for column, place in places.items()}
    return Table(cells, [line for line, _ in read])


def _check_header(file: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    twice = [name for index, name in enumerate(header) if name and name in header[:index]]
    if twice:
        raise DataError(f"line 1 of {file} names the column {twice[0]!r} twice; rename one, for either could be meant")
    missing = [column for column in columns if column not in header]
    if not missing:
        return
    if not any(header):
        raise DataError(f"line 1 of {file} is blank; put the names of the columns there")
    if header[0].lower().startswith("sep="):
        line = ",".join(header)
        raise DataError(f"line 1 of {file} is {line!r}, a note for Excel, not the names of columns; leave the line out")
    for separator, called in _SEPARATORS.items():
        if any(separator in cell for cell in header):
            raise DataError(
                f"line 1 of {file} separates columns by {called}: {separator.join(header)!r}; write commas between "
                "columns, and decimals with a point"
            )
    raise DataError(f"{file} has no column {missing[0]!r}; it has {', '.join(map(repr, header))}")
