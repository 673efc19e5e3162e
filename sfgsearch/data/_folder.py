"""Pictures in a folder and targets in a table, described by the study file."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfgsearch._registry import data_sets
from sfgsearch.data._assembly import assemble
from sfgsearch.data._files import LocatedFile, locate
from sfgsearch.data._maps import read_maps
from sfgsearch.data._missing_values import MissingValues, Number, Values, parse_number
from sfgsearch.data._partition import Division
from sfgsearch.data._pictures import Colours, Pictures, Size, read_pictures, unreadable
from sfgsearch.data._rows import bad_rows
from sfgsearch.data._splits import MultiTaskData
from sfgsearch.data._tables import Table, read_table
from sfgsearch.data._targets import encode
from sfgsearch.data._task_tables import TaskTable, read_task_tables
from sfgsearch.errors import DataError

_FILE = "file"


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
    read = read_table(located, list(dict.fromkeys([*needed, *(task.key for task in tables)])))
    _check_complete(read, needed)
    rows = [f"line {line} ({name})" for line, name in zip(read.lines, read.columns[_FILE], strict=True)]
    pictures = _read_pictures(_locate_all(root, read.columns[_FILE], rows), size, colours, rows)
    encoded = [encode(task, _values(root, task, read.columns[task.key], pictures, rows), rows) for task in tables]
    return assemble(
        torch.from_numpy(pictures.pixels),
        [task for _, task in encoded],
        {task.name: target for target, task in encoded},
        Division(seed, shares, *(np.array(read.columns[key]) if key else None for key in (groups, split))),
        rows,
    )


def _check_complete(read: Table, columns: Sequence[str]) -> None:
    """Refuse rows without a file, group or split."""
    problems = [
        f"line {line} (nothing in column {column!r})"
        for column in columns
        for line, text in zip(read.lines, read.columns[column], strict=True)
        if MissingValues().includes(text)
    ]
    if problems:
        raise bad_rows(problems, "fill in what is missing or leave the rows out")


def _locate_all(root: Path, names: Sequence[str], rows: Sequence[str]) -> list[Path]:
    """Find the pictures, all different files however they are spelled."""
    files: list[LocatedFile] = []
    first: dict[Hashable, str] = {}
    problems, twice = [], []
    for name, row in zip(names, rows, strict=True):
        try:
            file = locate(root, name)
        except (OSError, ValueError) as error:
            problems.append(f"{row} ({unreadable(error)})")
            continue
        if file.identity in first:
            twice.append(f"{row} is the file of {first[file.identity]}")
        first.setdefault(file.identity, row)
        files.append(file)
    if problems:
        raise bad_rows(problems, "replace or leave out these")
    if twice:
        raise bad_rows(twice, "name every picture once")
    return [file.path for file in files]


def _read_pictures(files: Sequence[Path], size: int | None, colours: Colours, rows: Sequence[str]) -> Pictures:
    pictures = read_pictures(files, None if size is None else (size, size), colours)
    if pictures.broken:
        problems = [f"{rows[index]} ({reason})" for index, reason in pictures.broken.items()]
        raise bad_rows(problems, "replace or leave out these")
    height, width = pictures.pixels.shape[2:]
    others = [
        f"{rows[index]} ({found[1]}x{found[0]})"
        for index, found in pictures.sizes.items()
        if size is None and found != (height, width)
    ]
    if others:
        raise bad_rows(others, f"the first picture has {width}x{height} pixels; set size to resize all")
    return pictures


def _values(root: Path, task: TaskTable, texts: list[str], pictures: Pictures, rows: Sequence[str]) -> Values:
    """Return what the column of a task says."""
    missing = np.array([task.missing.includes(text) for text in texts])
    if task.is_dense:
        named = {row: text for row, text in enumerate(texts) if not missing[row]}
        return _dense(root, task, named, pictures, rows)
    if task.has_classes:
        return Values(np.array(texts), missing)
    numbers = [None if gone else parse_number(text) for text, gone in zip(texts, missing.tolist(), strict=True)]
    problems = [
        f"{row} ({task.key} is {text!r}, no finite number)"
        for row, text, number, gone in zip(rows, texts, numbers, missing.tolist(), strict=True)
        if not gone and (number is None or not math.isfinite(number))
    ]
    if problems:
        raise bad_rows(
            problems, f"correct the table, decimals with a point, or set tasks.{task.name}.missing to what is no number"
        )
    return Values(np.array([math.nan if number is None else number for number in numbers], dtype=float), missing)


def _dense(root: Path, task: TaskTable, names: dict[int, str], pictures: Pictures, rows: Sequence[str]) -> Values:
    """Read the pictures of a dense task: one number for every pixel."""
    files, broken = {}, {}
    for row, name in names.items():
        try:
            files[row] = locate(root, name).path
        except (OSError, ValueError) as error:
            broken[row] = unreadable(error)
    size: Size = pictures.pixels.shape[2], pictures.pixels.shape[3]
    values, unusable = read_maps(task, files, pictures.sizes, len(rows), size)
    if broken := dict(sorted((broken | unusable).items())):
        problems = [f"{rows[row]} ({names[row]}: {reason})" for row, reason in broken.items()]
        raise bad_rows(problems, f"correct the files of task {task.name!r} or leave the cells empty")
    return values
