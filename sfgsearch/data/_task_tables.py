"""Tasks that a study file describes in tables of its own: ``[data.tasks.age] type = "regression", key = "age"``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sfgsearch.errors import DataError
from sfgsearch.tasks import Task, task_from_dict, task_types

DENSE_TYPES = frozenset({"segmentation", "dense_regression"})
"""Types with a target for every pixel."""


@dataclass(frozen=True)
class TaskTable:
    """One task as a study file describes it.

    Args:
        name: The task's name.
        type: Its type.
        key: Where its targets stand: an array of an npz file, or a column of a table.
        options: The further keys, options of the task.
    """

    name: str
    type: str
    key: str
    options: dict[str, Any]

    @property
    def is_dense(self) -> bool:
        """Whether there is a target for every pixel."""
        return self.type in DENSE_TYPES

    @property
    def has_classes(self) -> bool:
        """Whether targets are classes, not quantities."""
        return any(field.name == "num_classes" for field in fields(task_types[self.type]))

    @property
    def scale(self) -> float:
        """What a quantity is divided by for training."""
        return float(self.options.get("scale", 1.0))

    def build(self, **found: Any) -> Task:
        """Return the task.

        Args:
            **found: Options found from the data, which the table overrules.

        Raises:
            DataError: If an option is unknown or its value not allowed.
        """
        try:
            return task_from_dict({"type": self.type, "name": self.name, **found, **self.options})
        except DataError as error:
            raise DataError(f"tasks.{self.name}: {error}") from error


def read_task_tables(tables: Mapping[str, Mapping[str, Any]]) -> list[TaskTable]:
    """Check the tables of tasks.

    Args:
        tables: By task name; ``type`` is required, ``key`` is the task's name if it is missing.

    Raises:
        DataError: If there is no table, or a type is missing or unknown, or a key or scale is none.
    """
    if not tables:
        raise DataError('tasks: describe at least one, such as [data.tasks.age] with type = "regression"')
    read = []
    for name, table in tables.items():
        options = dict(table)
        kind, key = options.pop("type", None), options.pop("key", name)
        if not isinstance(kind, str) or kind not in task_types:
            raise DataError(f"tasks.{name}.type: must be one of {', '.join(map(repr, task_types))}, got {kind!r}")
        if not isinstance(key, str):
            raise DataError(f"tasks.{name}.key: must be the name of an array or column, got {key!r}")
        scale = options.get("scale", 1.0)
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < float("inf"):
            raise DataError(f"tasks.{name}.scale: must be a number > 0, got {scale!r}")
        parsed = TaskTable(name, kind, key, options)
        parsed.build()
        read.append(parsed)
    return read
