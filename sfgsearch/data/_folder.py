"""Pictures in a folder and targets in a table, described by the study file."""

from __future__ import annotations

import csv
import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfgsearch._registry import data_sets
from sfgsearch.data._files import LocatedFile, bad_rows, locate
from sfgsearch.data._partition import Division, assemble
from sfgsearch.data._pictures import Colours, Pictures, read_maps, read_pictures, unreadable
from sfgsearch.data._splits import MultiTaskData
from sfgsearch.data._targets import encode
from sfgsearch.data._task_tables import MissingValues, Number, TaskTable, Values, parse_number, read_task_tables
from sfgsearch.errors import DataError

_FILE = "file"
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@data_sets.register("folder")
def folder(
    seed: int,
    *,
    path: str | Path,
    tasks: dict[str, dict[str, Any]],
    table: str = "labels.csv",
    size: int | None = None,
    colours: Colours = "rgb",
    missing: tuple[str | Number, ...] = (),
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
    groups: str | None = None,
    split: str | None = None,
) -> MultiTaskData:
    """Read pictures from a folder and their targets from a table.

    A picture may lack the target of a task: an empty cell and the texts ``NA``, ``N/A``, ``nan``, ``null``, ``None``
    and ``?`` are missing targets. A picture without any target is kept.

    Pictures are turned upright as their EXIF orientation says. Pictures that are equal byte for byte, once they are
    decoded and resized, stay in one split. A split by shares has about the same shares of every class.

    Args:
        seed: Fixes the split by shares.
        path: The folder. Its pictures have 8 bits a channel; greater numbers belong in :func:`npz`.
        tasks: By name, a table with ``type``, ``key`` (the column with the targets; the task's name if missing) and
            options of the task. Quantities stand in the column in their unit and are divided by ``scale``. Classes
            are whole numbers or text; the distinct ones in ascending order, unless ``num_classes`` says that they
            are the numbers from 0, or ``classes`` lists them, or names them by value: ``{m = "male", f = "female"}``.
            Those of pixels are whole numbers, and the lowest is the background.
            The column of a dense task names picture files of the picture's size with a value for every pixel; where
            it is empty the whole picture has no target. ``missing`` lists further cells of missing targets; pixels
            without a target have the values that ``ignore`` of a segmentation or ``invalid`` of a dense regression
            lists.
        table: The table in the folder, a CSV file with a header and a column ``file`` that names pictures, relative
            to the folder, each once.
        size: Pixels a side that pictures are resized to, bilinearly; classes take the nearest pixel, and quantities
            are interpolated between valid pixels alone, and valid where these have half of the weight. Without it
            all pictures must have one size.
        colours: ``"rgb"`` or ``"grey"``.
        missing: Further cells of missing targets in all tasks.
        shares: Of training, validation and test.
        groups: Column whose equal values stay in one split, such as patients.
        split: Column that holds ``"train"``, ``"validation"`` or ``"test"`` for every picture, instead of shares.

    Returns:
        Images of shape (C, H, W) as bytes, which batches hold as float in [0, 1], and the tasks.

    Raises:
        DataError: If the table cannot be read, a column is missing, or rows or files are not what they should be.
    """
    tables = read_task_tables(tasks, missing, arrays=False)
    if size is not None and size < 1:
        raise DataError(f"size must be at least 1, got {size}")
    if not Path(path).is_dir():
        raise DataError(f"path: there is no folder {path}")
    root = Path(path).resolve()
    try:
        located = locate(root, table).path
    except (OSError, ValueError) as error:
        raise DataError(f"table: cannot read {root / table} ({unreadable(error)})") from error
    needed = [_FILE, *(key for key in (groups, split) if key)]
    columns, lines = _read_table(located, list(dict.fromkeys([*needed, *(task.key for task in tables)])))
    problems = [
        f"line {line} (nothing in column {column!r})"
        for column in needed
        for line, text in zip(lines, columns[column], strict=True)
        if MissingValues().includes(text)
    ]
    if problems:
        raise bad_rows(problems, "fill in what is missing or leave the rows out")
    rows = [f"line {line} ({name})" for line, name in zip(lines, columns[_FILE], strict=True)]
    pictures = _read_pictures(root, columns[_FILE], size, colours, rows)
    encoded = [encode(task, _values(root, task, columns[task.key], pictures, rows), rows) for task in tables]
    return assemble(
        torch.from_numpy(pictures.pixels),
        encoded,
        Division(seed, shares, *(np.array(columns[key]) if key else None for key in (groups, split))),
        rows,
    )


def _locate_all(root: Path, names: Mapping[int, str]) -> tuple[dict[int, LocatedFile], dict[int, str]]:
    """Return the files that rows name, and by row why one cannot be read."""
    files, broken = {}, {}
    for row, name in names.items():
        try:
            files[row] = locate(root, name)
        except (OSError, ValueError) as error:
            broken[row] = unreadable(error)
    return files, broken


def _read_pictures(root: Path, names: list[str], size: int | None, colours: Colours, rows: Sequence[str]) -> Pictures:
    """Decode the pictures, all different files however they are spelled."""
    files, broken = _locate_all(root, dict(enumerate(names)))
    _refuse(broken, rows)
    first: dict[Hashable, str] = {}
    twice = [
        f"{rows[row]} is the file of {first[file.identity]}"
        for row, file in files.items()
        if first.setdefault(file.identity, rows[row]) != rows[row]
    ]
    if twice:
        raise bad_rows(twice, "name every picture once")
    pictures = read_pictures([file.path for file in files.values()], (size, size) if size else None, colours)
    _refuse(pictures.broken, rows)
    height, width = pictures.pixels.shape[2:]
    others = [
        f"{rows[row]} ({found[1]}x{found[0]})"
        for row, found in pictures.sizes.items()
        if size is None and found != (height, width)
    ]
    if others:
        raise bad_rows(others, f"the first picture has {width}x{height} pixels; set size to resize all")
    return pictures


def _refuse(broken: Mapping[int, str], rows: Sequence[str]) -> None:
    if broken:
        raise bad_rows([f"{rows[row]} ({reason})" for row, reason in broken.items()], "replace or leave out these")


def _values(root: Path, task: TaskTable, texts: list[str], pictures: Pictures, rows: Sequence[str]) -> Values:
    """Return the targets that the column of a task holds or names."""
    missing = np.array([task.missing.includes(text) for text in texts])
    if task.is_dense:
        named = {row: text for row, text in enumerate(texts) if not missing[row]}
        return _dense(root, task, named, pictures, rows)
    if task.has_classes:
        return Values(np.array(texts), missing)
    numbers = [None if gone else parse_number(text) for text, gone in zip(texts, missing.tolist(), strict=True)]
    values = np.array([math.nan if number is None else number for number in numbers], dtype=float)
    problems = [
        f"{rows[row]} ({task.key} is {texts[row]!r}, no finite number)"
        for row in np.flatnonzero(~missing & ~np.isfinite(values)).tolist()
    ]
    if problems:
        raise bad_rows(
            problems, f"correct the table, decimals with a point, or set tasks.{task.name}.missing to what is no number"
        )
    return Values(values, missing)


def _dense(root: Path, task: TaskTable, names: dict[int, str], pictures: Pictures, rows: Sequence[str]) -> Values:
    """Read the pictures of a dense task: one number for every pixel."""
    files, broken = _locate_all(root, names)
    height, width = pictures.pixels.shape[2:]
    paths = {row: file.path for row, file in files.items()}
    values, unusable = read_maps(task, paths, pictures.sizes, len(rows), (height, width))
    if broken := dict(sorted((broken | unusable).items())):
        problems = [f"{rows[row]} ({names[row]}: {reason})" for row, reason in broken.items()]
        raise bad_rows(problems, f"correct the files of task {task.name!r} or leave the cells empty")
    return values


def _read_table(file: Path, columns: Sequence[str]) -> tuple[dict[str, list[str]], list[int]]:
    """Read columns of a CSV file in UTF-8 with a header; others may hold anything but line breaks.

    Returns:
        The cells of each column from top to bottom, without blanks around them, and the line in which each row ends.
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
    found = {column: [cells[header.index(column)].strip() for _, cells in read] for column in columns}
    return found, [line for line, _ in read]


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
