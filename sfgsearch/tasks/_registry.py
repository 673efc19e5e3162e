"""The table of task types, by which saved networks and data files name their tasks."""

from __future__ import annotations

from sfgsearch._registry import Registry
from sfgsearch.tasks._task import Task

task_types: Registry[type[Task]] = Registry("task type", "@sfgsearch.tasks.task_types.register('my_task')")
"""Subclasses of :class:`Task`; they are dataclasses whose fields are numbers, strings, or tuples of these."""
