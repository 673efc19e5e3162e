"""From values as users write them to targets and tasks, and from rows to splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfgsearch.data._partition import SPLIT_NAMES, Parts
from sfgsearch.data._splits import InMemory, MultiTaskData
from sfgsearch.data._task_tables import TaskTable
from sfgsearch.errors import DataError
from sfgsearch.tasks import Task

_LISTED, _COUNTABLE = 20, 1 << 16


def bad_rows(problems: Sequence[str], remedy: str) -> DataError:
    """Return an error that lists bad rows and says what to do.

    Args:
        problems: Each names a row and says what is wrong with it.
        remedy: What to do.
    """
    more = f"; and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
    listed = "; ".join(problems[:_LISTED])
    return DataError(f"{len(problems)} bad {'row' if len(problems) == 1 else 'rows'}: {listed}{more}; {remedy}")


def encode(table: TaskTable, values: NDArray[Any], rows: Sequence[str]) -> tuple[Tensor, Task]:
    """Return the targets of a task and the task itself.

    Args:
        table: The task's description.
        values: Classes (whole numbers, or text) or quantities in the task's unit; shape (N,), or (N, *space) for
            dense tasks.
        rows: What to call each row in errors.

    Returns:
        Classes as int64 from zero, quantities as float32 divided by the task's scale, in the shape of ``values``.

    Raises:
        DataError: If a value is no class or no finite number.
    """
    if not table.has_classes:
        return _quantities(table, values, rows), table.build()
    numbers, num_classes = _classes(table, values, rows)
    return torch.from_numpy(numbers), table.build(num_classes=num_classes)


def _quantities(table: TaskTable, values: NDArray[Any], rows: Sequence[str]) -> Tensor:
    if values.dtype.kind not in "buif":
        raise DataError(f"tasks.{table.name}: {table.key!r} holds {values.dtype} values; a {table.type} needs numbers")
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        problems = [f"{rows[index]} (no finite number)" for index in np.flatnonzero(~finite).tolist()]
        raise bad_rows(problems, f"correct {table.key!r} there or leave the rows out")
    return torch.from_numpy((values / table.scale).astype(np.float32))


def _classes(table: TaskTable, values: NDArray[Any], rows: Sequence[str]) -> tuple[NDArray[np.int64], int]:
    given = table.options.get("num_classes")
    is_text = values.dtype.kind in "US"
    if values.dtype.kind not in "bui" and not (is_text and not table.is_dense):
        allowed = "whole numbers" if table.is_dense else "whole numbers or text"
        raise DataError(
            f"tasks.{table.name}: {table.key!r} holds {values.dtype} values; a {table.type} needs {allowed}"
        )
    if is_text or given is None:
        names, numbers = _in_order(values)
        num_classes = len(names) if given is None else given
        if len(names) > num_classes:
            raise DataError(
                f"tasks.{table.name}.num_classes: is {given}, but {table.key!r} holds {len(names)} classes: "
                f"{', '.join(map(str, names[:_LISTED]))}"
            )
    else:
        numbers, num_classes = values.astype(np.int64), given
    outside = ((numbers < 0) | (numbers >= num_classes)).reshape(len(numbers), -1).any(axis=1)
    if outside.any():
        problems = [
            f"{rows[index]} (class not in 0 to {num_classes - 1})" for index in np.flatnonzero(outside).tolist()
        ]
        raise bad_rows(problems, f"correct {table.key!r} there or set tasks.{table.name}.num_classes")
    if num_classes < 2:
        raise DataError(f"tasks.{table.name}: {table.key!r} holds a single class; a {table.type} needs two")
    return numbers.astype(np.int64, copy=False), num_classes


def _in_order(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the distinct values in ascending order, and the place of every value among them.

    Whole numbers that are close together are counted, for sorting all voxels of all images takes minutes.
    """
    if values.dtype.kind in "bui" and values.size and int(values.max()) - int(values.min()) < _COUNTABLE:
        shifted = values.astype(np.int64)
        shifted -= int(values.min())
        present = np.bincount(shifted.ravel()) > 0
        names = np.flatnonzero(present) + int(values.min())
        return names, (present.cumsum() - 1)[shifted]
    names, places = np.unique(values, return_inverse=True)
    return names, places.reshape(values.shape)


def assemble(
    images: Tensor, tables: Sequence[TaskTable], values: Mapping[str, NDArray[Any]], parts: Parts, rows: Sequence[str]
) -> MultiTaskData:
    """Return the data set of images, described tasks and a division of the rows.

    Args:
        images: Shape (N, C, *space).
        tables: The tasks' descriptions, in order.
        values: What their keys hold.
        parts: The rows of each split.
        rows: What to call each row in errors.

    Raises:
        DataError: If a value is bad, or a class is in validation or test but not in training.
    """
    targets: dict[str, Tensor] = {}
    tasks = []
    for table in tables:
        targets[table.name], task = encode(table, values[table.key], rows)
        tasks.append(task)
        if table.has_classes:
            _check_seen(table, values[table.key], targets[table.name], parts)
    train, validation, test = (
        InMemory(images[part], {name: target[part] for name, target in targets.items()})
        for part in map(torch.from_numpy, parts)
    )
    return MultiTaskData(tuple(tasks), train, validation, test)


def _check_seen(table: TaskTable, values: NDArray[Any], target: Tensor, parts: Parts) -> None:
    seen = target[torch.from_numpy(parts[0])].flatten().bincount(minlength=int(target.max()) + 1) > 0
    for split, part in zip(SPLIT_NAMES[1:], parts[1:], strict=True):
        unseen = ~seen[target[torch.from_numpy(part)]]
        if unseen.any():
            names = np.unique(values[part][unseen.numpy()]).tolist()
            raise DataError(
                f"tasks.{table.name}: the classes {', '.join(map(repr, names[:_LISTED]))} are in the {split} split but "
                "not in the training split; add training images of them, leave them out, or change the split"
            )
