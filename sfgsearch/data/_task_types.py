"""The types of tasks that study files can describe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sfgsearch.errors import DataError
from sfgsearch.tasks import Classification, Regression, Task

task_types: Mapping[str, type[Task]] = {"classification": Classification, "regression": Regression}
"""Task classes, which are dataclasses, by the ``type`` of a table."""


def task_from_dict(data: Mapping[str, Any]) -> Task:
    """Return the task of a type's name and fields.

    Args:
        data: ``type``, ``name`` and further fields of the task's class.

    Raises:
        DataError: If the type or a key is unknown, or a value is not allowed.
    """
    values = dict(data)
    kind = task_types[values.pop("type")]
    allowed = [field.name for field in fields(kind)]
    unknown = [key for key in values if key not in allowed]
    if unknown:
        raise DataError(f"a task of type {data['type']!r} has no key {unknown[0]!r}; allowed: {', '.join(allowed)}")
    try:
        task: Task = TypeAdapter(kind).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}") from error
    return task
