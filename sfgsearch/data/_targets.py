"""From values as users write them to targets and tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfgsearch.data._class_values import encode_classes
from sfgsearch.data._missing_values import Values
from sfgsearch.data._rows import bad_rows
from sfgsearch.data._task_tables import TaskTable
from sfgsearch.errors import DataError
from sfgsearch.tasks import Task

_CHUNK = 1 << 20


def encode(table: TaskTable, values: Values, rows: Sequence[str]) -> tuple[Tensor, Task]:
    """Return the targets of a task and the task itself.

    Args:
        table: The task's description.
        values: Classes (whole numbers, or text) or quantities in the task's unit.
        rows: What to call each row in errors.

    Returns:
        Classes from zero, as int64 or, of dense tasks, int16 if that is enough, and -1 where missing; quantities as
        float32 divided by the task's scale, and NaN where missing. They have the shape of ``values``.

    Raises:
        DataError: If a value is no class or no finite number, or none is present.
    """
    if table.has_classes:
        encoded = encode_classes(table, values, rows)
        return torch.from_numpy(encoded.target), table.build(num_classes=len(encoded.names), classes=encoded.names)
    if values.array.dtype.kind not in "buif":
        raise DataError(
            f"tasks.{table.name}: {table.key!r} holds {values.array.dtype} values; a {table.type} needs numbers"
        )
    if values.missing.all():
        raise DataError(f"tasks.{table.name}: {table.key!r} holds no number at all, only missing ones; leave it out")
    target, broken = as_float32(values.array, table.scale, values.missing)
    if broken:
        problems = [f"{rows[index]} ({table.key} {reason})" for index, reason in broken.items()]
        raise bad_rows(
            problems, f"correct these, or set tasks.{table.name}.{table.missing_option} to what is no number"
        )
    return torch.from_numpy(target), table.build()


def as_float32(
    array: NDArray[Any], scale: float, missing: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Divide numbers by a scale.

    Args:
        array: Shape (N, ...).
        scale: What they are divided by.
        missing: Bool of the same shape: what becomes NaN.

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
