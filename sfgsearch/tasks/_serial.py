"""Tasks as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sfgsearch._registry import task_types
from sfgsearch.errors import DataError
from sfgsearch.tasks._task import Task

_TYPE = "type"


def task_to_dict(task: Task) -> dict[str, Any]:
    """Return a task as plain data for JSON: its type's name and all of its fields.

    Args:
        task: A task of a registered type.

    Raises:
        DataError: If its type is not registered.
    """
    name = next((name for name, kind in task_types.items() if kind is type(task)), None)
    if name is None:
        raise DataError(
            f"{type(task).__name__} is not a registered task type; register it with "
            "@sfgsearch.tasks.task_types.register('my_task')"
        )
    values = {field.name: getattr(task, field.name) for field in fields(task)}
    return {_TYPE: name, **{key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}}


def task_from_dict(data: Mapping[str, Any]) -> Task:
    """Return the task that :func:`task_to_dict` described; keys that are missing have their defaults.

    Args:
        data: The task's type and fields, as JSON gives them.

    Raises:
        DataError: If the type or a key is unknown, the name is missing, or a value is not allowed.
    """
    kind_name = data.get(_TYPE)
    if not isinstance(kind_name, str) or kind_name not in task_types:
        raise DataError(f"a task's type must be one of {', '.join(sorted(task_types))}, got {kind_name!r}")
    kind = task_types[kind_name]
    allowed = [field.name for field in fields(kind)]
    values = {key: value for key, value in data.items() if key != _TYPE}
    unknown = [key for key in values if key not in allowed]
    if unknown:
        raise DataError(f"a task of type {kind_name!r} has no key {unknown[0]!r}; allowed: {', '.join(allowed)}")
    try:
        task: Task = _adapter(kind).validate_json(json.dumps(values), strict=True)
    except (ValidationError, TypeError) as error:
        raise DataError(f"task {values.get('name', '?')!r} of type {kind_name!r}: {_reason(error)}") from error
    return task


@cache
def _adapter(kind: type[Task]) -> TypeAdapter[Task]:
    return TypeAdapter(kind)


def _reason(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return f"its values must be plain data ({error})"
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
