"""Pictures in a folder and targets in a table, described by the study file."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sfgsearch.data._partition import partition
from sfgsearch.data._pictures import Colours, read_pictures, unreadable
from sfgsearch.data._registry import data_sets
from sfgsearch.data._splits import MultiTaskData
from sfgsearch.data._targets import assemble, bad_rows
from sfgsearch.data._task_tables import TaskTable, read_task_tables
from sfgsearch.errors import DataError

_FILE = "file"

Row = dict[str, str]


@data_sets.register("folder")
def folder(
    seed: int,
    *,
    path: str | Path,
    tasks: dict[str, dict[str, Any]],
    table: str = "labels.csv",
    size: int | None = None,
    colours: Colours = "rgb",
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
    groups: str | None = None,
    split: str | None = None,
) -> MultiTaskData:
    """Read pictures from a folder and their targets from a table.

    Args:
        seed: Fixes the split by shares.
        path: The folder. Its pictures have 8 bits a channel; greater numbers belong in :func:`npz`.
        tasks: By name, a table with ``type``, ``key`` (the column with the targets; the task's name if missing) and
            options of the task. Quantities stand in the column in their unit and are divided by ``scale``. Classes
            are whole numbers or text; without ``num_classes`` the distinct values in ascending order are the
            classes. The column of a dense task names picture files with a value for every pixel.
        table: The table in the folder, a CSV file with a header and a column ``file`` that names pictures, relative
            to the folder.
        size: Pixels a side that pictures are resized to (bilinear, classes by nearest neighbour); without it all
            pictures must have one size.
        colours: ``"rgb"`` or ``"grey"``.
        shares: Of training, validation and test.
        groups: Column whose equal values stay in one split, such as patients.
        split: Column that holds ``"train"``, ``"validation"`` or ``"test"`` for every picture, instead of shares.

    Returns:
        Images of shape (C, H, W) as bytes, which batches hold as float in [0, 1], and the tasks.

    Raises:
        DataError: If the table cannot be read, a column is missing, or rows or files are not what they should be.
    """
    tables = read_task_tables(tasks)
    if size is not None and size < 1:
        raise DataError(f"size must be at least 1, got {size}")
    place = Path(path)
    columns = [_FILE, *(task.key for task in tables), *(key for key in (groups, split) if key)]
    entries = _read_table(place, place / table, columns)
    rows = [f"row {number} ({entry[_FILE]})" for number, entry in enumerate(entries, start=2)]
    files = [place / entry[_FILE] for entry in entries]
    shape = _common_size(files, rows) if size is None else (size, size)
    pictures, broken = read_pictures(files, shape, colours)
    if broken:
        raise bad_rows([f"{rows[index]} ({reason})" for index, reason in broken.items()], "replace or leave out these")
    values = {}
    for task in tables:
        texts = [entry[task.key] for entry in entries]
        values[task.key] = _dense(place, task, texts, shape, rows) if task.is_dense else _column(task, texts, rows)
    parts = partition(
        len(entries),
        seed,
        shares,
        np.array([entry[groups] for entry in entries]) if groups else None,
        np.array([entry[split] for entry in entries]) if split else None,
    )
    return assemble(torch.from_numpy(pictures), tables, values, parts, rows)


def _read_table(place: Path, table: Path, columns: Sequence[str]) -> list[Row]:
    """Read the rows of a table, every one complete and with a file of its own."""
    if not place.is_dir():
        raise DataError(f"path: there is no folder {place}")
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            entries, header = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"table: cannot read {table} ({reason}); a CSV file in UTF-8 is wanted") from error
    missing = [column for column in columns if column not in header]
    if missing:
        raise DataError(f"{table} has no column {missing[0]!r}; it has {', '.join(map(repr, header)) or 'none'}")
    if not entries:
        raise DataError(f"{table} has a header and no rows")
    problems, seen = [], set()
    for number, entry in enumerate(entries, start=2):
        empty = [column for column in columns if not (entry[column] or "").strip()]
        if empty:
            problems.append(f"row {number} (nothing in column {empty[0]!r})")
        elif entry[_FILE] in seen:
            problems.append(f"row {number} ({entry[_FILE]} again)")
        seen.add(entry[_FILE])
    if problems:
        raise bad_rows(problems, f"complete {table} or leave the rows out")
    return [{column: entry[column].strip() for column in columns} for entry in entries]


def _common_size(files: Sequence[Path], rows: Sequence[str]) -> tuple[int, int]:
    """Return the height and width that all pictures have."""
    problems, sizes = [], {}
    for file, row in zip(files, rows, strict=True):
        try:
            with Image.open(file) as image:
                sizes[row] = image.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            problems.append(f"{row} ({unreadable(error)})")
    if problems:
        raise bad_rows(problems, "replace or leave out these")
    width, height = next(iter(sizes.values()))
    others = [f"{row} ({size[0]}x{size[1]})" for row, size in sizes.items() if size != (width, height)]
    if others:
        raise bad_rows(others, f"the first picture has {width}x{height} pixels; set size to resize all")
    return height, width


def _column(task: TaskTable, texts: list[str], rows: Sequence[str]) -> NDArray[Any]:
    """Return a column as numbers where the task wants numbers, or all of its classes are."""
    if task.has_classes:
        numbers = [_parse(int, text) for text in texts]
        return np.array(texts if None in numbers else numbers)
    values = [_parse(float, text) for text in texts]
    problems = [
        f"{row} ({task.key} is {text!r}, no finite number)"
        for row, text, value in zip(rows, texts, values, strict=True)
        if value is None or not math.isfinite(value)
    ]
    if problems:
        raise bad_rows(problems, "correct the table or leave the rows out")
    return np.array(values)


def _parse(convert: Callable[[str], Any], text: str) -> Any:
    try:
        return convert(text)
    except ValueError:
        return None


def _dense(place: Path, task: TaskTable, names: list[str], shape: tuple[int, int], rows: Sequence[str]) -> NDArray[Any]:
    """Read the pictures of a dense task: one number for every pixel."""
    problems, maps = [], []
    for name, row in zip(names, rows, strict=True):
        try:
            with Image.open(place / name) as image:
                maps.append(_resize(image, task, shape))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            problems.append(f"{row} ({name}: {unreadable(error)})")
    if problems:
        raise bad_rows(problems, f"correct the files of task {task.name!r} or leave the rows out")
    return np.stack(maps)


def _resize(image: Image.Image, task: TaskTable, shape: tuple[int, int]) -> NDArray[Any]:
    values = np.asarray(image)
    if values.ndim != 2:
        raise ValueError(f"has {values.shape[2]} channels instead of one")
    if task.has_classes:
        if values.dtype.kind not in "bui":
            raise ValueError("holds no whole numbers")
        return np.asarray(Image.fromarray(values.astype(np.int32)).resize(shape[::-1], Image.Resampling.NEAREST))
    smooth = Image.fromarray(values.astype(np.float32)).resize(shape[::-1], Image.Resampling.BILINEAR)
    return np.asarray(smooth)
