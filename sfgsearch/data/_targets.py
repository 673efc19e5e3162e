"""Targets and tasks from values as users write them: classes from zero with names, and scaled quantities."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfgsearch.data._files import LISTED, bad_rows, enumerate_some
from sfgsearch.data._task_tables import Number, TaskTable, Values, normalise, parse_number
from sfgsearch.errors import DataError
from sfgsearch.tasks import MISSING, Task

_CHUNK = 1 << 20
_BINARY_MASK = [0, 255]
_COUNTABLE, _MOST_UNASKED, _MOST_IN_MASKS = 1 << 16, 64, 1024

Class = Number | str
"""A class as users write it: a whole number, or a text, which may be any number."""


def encode(table: TaskTable, values: Values, rows: Sequence[str]) -> tuple[Tensor, Task]:
    """Return the targets of a task and the task itself.

    Args:
        table: The task's description.
        values: Classes (whole numbers, or text if the task is not dense) or quantities in the task's unit.
        rows: Names of rows in errors.

    Returns:
        Classes from zero, as int64 or, of dense tasks, int16 if that is enough, and -1 where missing; quantities as
        float32 divided by the task's scale, and NaN where missing. They have the shape of ``values``.

    Raises:
        DataError: If a value is no class or no finite number, can be read in more than one way, or none is present.
    """
    if table.has_classes:
        classes, names = _encode_classes(table, values, rows)
        return torch.from_numpy(classes), table.build(num_classes=len(names), classes=names)
    if values.array.dtype.kind not in "buif":
        raise DataError(
            f"tasks.{table.name}: {table.key!r} holds {values.array.dtype} values; a {table.type} needs numbers"
        )
    if values.missing.all():
        raise DataError(f"tasks.{table.name}: {table.key!r} holds no number at all, only missing ones; leave it out")
    target, broken = as_float32(values.array, table.scale, values.missing)
    if broken:
        problems = [f"{rows[index]} ({table.key} {reason})" for index, reason in broken.items()]
        option = f"tasks.{table.name}.{table.missing_option}"
        raise bad_rows(problems, f"correct these, or set {option} to what is no number")
    return torch.from_numpy(target), table.build()


def as_float32(
    array: NDArray[Any], scale: float, missing: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Divide numbers of shape (N, ...) by a scale; those that are missing, bool of the same shape, become NaN.

    Returns:
        The quotients, and by row why it has one that is no finite number.
    """
    result, wrong = np.empty(array.shape, dtype=np.float32), np.zeros(len(array), dtype=bool)
    step = max(1, _CHUNK // max(1, array[:1].size))
    for start in range(0, len(array), step):  # a part at a time: all in double precision would fill memory
        part = slice(start, start + step)
        with np.errstate(over="ignore"):
            quotients = np.divide(array[part], scale, dtype=np.float64).astype(np.float32)
        finite = np.isfinite(quotients)
        if missing is not None:
            quotients[missing[part]] = np.nan
            finite |= missing[part]
        result[part], wrong[part] = quotients, ~finite.reshape(len(finite), -1).all(axis=1)
    return result, {index: _explain(array[index], result[index]) for index in np.flatnonzero(wrong).tolist()}


def _explain(values: NDArray[Any], quotients: NDArray[np.float32]) -> str:
    """Return why numbers of a row have become infinite or are none."""
    infinite = np.atleast_1d(values)[np.isinf(np.atleast_1d(quotients))]
    if infinite.size and np.isfinite(infinite[0]):
        return f"is {infinite[0]}, more than float32 holds"
    return "holds no finite number" if np.ndim(values) else f"is {values}, no finite number"


def _encode_classes(
    table: TaskTable, values: Values, rows: Sequence[str]
) -> tuple[NDArray[np.int16] | NDArray[np.int64], tuple[str, ...]]:
    """Return the classes of a task as numbers from zero, and their names."""
    array = _as_classes(table, values, rows)
    by_row = _distinct_by_row(table, array, values.missing)
    found = _in_order(set().union(*by_row))
    if not found:
        raise DataError(f"tasks.{table.name}: {table.key!r} holds no class at all, only missing ones; leave it out")
    classes, names = _choose(table, found)
    _check_known(table, by_row, classes, rows)
    if len(classes) < 2:
        raise DataError(f"tasks.{table.name}: {table.key!r} holds a single class; a {table.type} needs two")
    return _number(table, array, values.missing, classes), names


def _as_classes(table: TaskTable, values: Values, rows: Sequence[str]) -> NDArray[Any]:
    """Return an array of whole numbers or, if not all are, of text; texts that are whole numbers become those."""
    array = values.array
    needed = f"a {table.type} needs whole numbers{'' if table.is_dense else ' or text'}"
    if array.dtype.kind in "bui":
        return array
    if array.dtype.kind == "f":
        fractions = ~values.missing & ~(np.isfinite(array) & (np.floor(array) == array))
        if not fractions.any():
            return array
        broken = fractions.reshape(len(array), -1).any(axis=1)
        problems = [f"{rows[index]} (no whole number)" for index in np.flatnonzero(broken).tolist()]
        raise bad_rows(problems, f"tasks.{table.name}: {needed}")
    if table.is_dense or array.dtype.kind not in "US":
        raise DataError(f"tasks.{table.name}: {table.key!r} holds {array.dtype} values; {needed}")
    texts = [text.strip() for text in array.tolist()]
    numbers = [parse_number(text) for text in texts]
    if all(isinstance(number, int) or gone for number, gone in zip(numbers, values.missing.tolist(), strict=True)):
        return np.array([number if isinstance(number, int) else 0 for number in numbers])
    return np.array([normalise(text) for text in texts])


def _distinct_by_row(table: TaskTable, array: NDArray[Any], missing: NDArray[np.bool_]) -> list[set[Class]]:
    """Return the distinct classes of every row that are not missing."""
    by_row, found = [], set[Class]()
    most = max(_MOST_IN_MASKS, table.options.get("num_classes", 0))
    for values, gone in zip(array, missing, strict=True):
        by_row.append(distinct(values, gone))
        found |= by_row[-1]
        if table.is_dense and len(found) > most:  # such as depths, too many to remember for every row
            raise DataError(
                f"tasks.{table.name}: {table.key!r} holds more than {most} different numbers; masks hold few, those of "
                "classes. Set num_classes if these are classes, or type to 'dense_regression' if they are quantities"
            )
    return by_row


def distinct(values: Any, missing: Any) -> set[Class]:
    """Return the distinct classes of one row, or of a volume, that are not missing.

    Whole numbers that are close together are counted, for sorting all voxels of all images takes minutes.
    """
    if not np.ndim(values):
        return set() if missing else {_plain(values.item())}
    present = values[~missing]
    if present.dtype.kind in "ui" and present.size:
        low, high = int(present.min()), int(present.max())
        if high - low < _COUNTABLE and high <= np.iinfo(np.int64).max:
            return set((np.flatnonzero(np.bincount(present.astype(np.int64) - low)) + low).tolist())
    return {_plain(value) for value in np.unique(present).tolist()}


def _plain(value: Class) -> Class:
    return value if isinstance(value, str) else int(value)


def _in_order(found: set[Class]) -> list[Class]:
    """Return classes in ascending order: as numbers, if all are."""
    if any(_as_number(one) is None for one in found):
        return sorted(found, key=str)
    return sorted(found, key=lambda one: (_as_number(one) or 0, one))


def _as_number(one: Class) -> Number | None:
    return parse_number(one) if isinstance(one, str) else one


def _is_below_zero(one: Class) -> bool:
    return (_as_number(one) or 0) < 0


def _choose(table: TaskTable, found: list[Class]) -> tuple[list[Class], tuple[str, ...]]:
    """Return the classes in the order of their numbers, and their names."""
    are_numbers = isinstance(found[0], int)
    if table.class_names:
        said = table.class_values or table.class_names
        wanted = [_as_whole(text) if are_numbers else normalise(text) for text in said]
        # A list of names that are numbers says which numbers are classes: as names of 0, 1, 2 they would mislead.
        if table.class_values or not are_numbers or any(parse_number(text) is not None for text in said):
            return wanted, table.class_names
    given = table.options.get("num_classes")
    if given is None:
        if table.is_dense:
            _check_gaps(table, found)
        return found, tuple(map(str, found))
    is_binary_mask = table.is_dense and given == 2 and found == _BINARY_MASK
    if are_numbers and not is_binary_mask:
        return list(range(given)), table.class_names or tuple(map(str, range(given)))
    if len(found) != given:
        raise DataError(
            f"tasks.{table.name}.num_classes: is {given}, but {table.key!r} holds {len(found)} classes: "
            f"{enumerate_some(found)}; correct it, or name all with classes = [...]"
        )
    return found, table.class_names or tuple(map(str, found))


def _as_whole(text: str) -> Class:
    number = parse_number(text)
    return number if isinstance(number, int) else text


def find_gaps(numbers: Sequence[int]) -> list[int]:
    """Return those of distinct numbers in ascending order before which others are left out.

    There are none in 0 and 255, the usual background and foreground.
    """
    return [] if list(numbers) == _BINARY_MASK else [b for a, b in pairwise(numbers) if b > a + 1]


def _check_gaps(table: TaskTable, found: list[Class]) -> None:
    numbers = [int(one) for one in found]
    beyond = find_gaps(numbers)
    key = f"tasks.{table.name}: {table.key!r}"
    if beyond and numbers[0] >= 0:
        named = f'classes = {{ {numbers[0]} = "background", {numbers[1]} = "other", ... }}'
        rest = numbers[: numbers.index(beyond[0])]
        remedy = (
            f"set ignore = {numbers[len(rest) :][:LISTED]} if pixels of that number have no class, else say which"
            if len(beyond) == 1 and len(rest) > 1
            else "list those of pixels without a class in ignore, if there are any, and say which"
        )
        raise DataError(
            f"{key} holds the numbers {enumerate_some(numbers)}, which leave a gap; {remedy} numbers are classes: "
            f"num_classes = {numbers[-1] + 1} for all up to the greatest, or {named}"
        )
    if len(numbers) > _MOST_UNASKED:
        raise DataError(f"{key} holds {len(numbers)} numbers, more than most masks have classes; set num_classes")


def _check_known(table: TaskTable, by_row: list[set[Class]], classes: list[Class], rows: Sequence[str]) -> None:
    """Refuse values that are not among the classes, and numbers below zero that nobody called classes."""
    allowed = set(classes) if table.class_names else {one for one in classes if not _is_below_zero(one)}
    problems, negative = [], False
    for row, found in zip(rows, by_row, strict=True):
        if unknown := found - allowed:
            value = min(unknown, key=str)
            problems.append(f"{row} ({value!r} is no class)")
            negative |= any(map(_is_below_zero, unknown))
    if not problems:
        return
    option = f"tasks.{table.name}.{table.missing_option}"
    if negative:
        below = sorted({_as_number(one) or 0 for found in by_row for one in found if _is_below_zero(one)})
        raise bad_rows(problems, f"set {option} = {below[:LISTED]} if nothing is known there, or number classes from 0")
    are_from_zero = classes == list(range(len(classes)))
    now = f"{classes[0]} to {classes[-1]}" if are_from_zero else enumerate_some(classes)
    raise bad_rows(
        problems,
        f"correct {table.key!r} there, set {option} to what stands for no class, or change "
        f"tasks.{table.name}.{'classes' if table.class_names else 'num_classes'} (now {now})",
    )


def _number(
    table: TaskTable, array: NDArray[Any], missing: NDArray[np.bool_], classes: list[Class]
) -> NDArray[np.int16] | NDArray[np.int64]:
    if not table.is_dense:
        numbers = {one: index for index, one in enumerate(classes)}
        found = [MISSING if gone else numbers[_plain(one)] for one, gone in zip(array.tolist(), missing, strict=True)]
        return np.array(found, dtype=np.int64)
    pairs = sorted((one, index) for index, one in enumerate(classes) if isinstance(one, int))  # texts are in no mask
    keys, order = (np.array(column) for column in zip(*pairs, strict=True))
    kind: Any = np.int16 if len(classes) <= np.iinfo(np.int16).max else np.int64
    target = np.empty(array.shape, dtype=kind)
    for index, one in enumerate(array):  # row by row: masks of all images fill gigabytes
        positions = np.searchsorted(keys, np.where(missing[index], keys[0], one))
        target[index] = np.where(missing[index], MISSING, order[positions])
    return target
