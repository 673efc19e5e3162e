"""Tasks as study files describe them, ``[data.tasks.age] type = "regression"``, and their missing values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfgsearch.errors import DataError
from sfgsearch.tasks import Task, task_from_dict, task_types

Number = int | float
_TEXTS = frozenset({"", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "nan", "NaN", "NAN", "null", "NULL", "None"})
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE, _MOST_DIGITS = re.compile(r"[+-]?[0-9]+"), 18
_PIXEL_OPTIONS = {"segmentation": "ignore", "dense_regression": "invalid"}
"""Types with a target for every pixel, and the option that names the values of pixels without one."""
_BOUNDS = {"weight": (1e-6, 1e6, False), "scale": (1e-12, 1e12, False), "hidden": (0, 1_000_000, True)}
"""Of numbers that all tasks with them share: the lowest, the highest, and whether they are whole."""


def parse_number(text: str) -> Number | None:
    """Return the number that a text is, an int where it is a whole one of at most 18 digits; None if it is none.

    Unlike ``float`` and ``int`` it takes no underscores, no digits of other scripts and no ``inf``.
    """
    if not _NUMBER.fullmatch(text):
        return None
    if _WHOLE.fullmatch(text) and len(text.lstrip("+-")) <= _MOST_DIGITS:
        return int(text)
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 10.0**_MOST_DIGITS else number


def normalise(text: str) -> str:
    """Return a text without blanks around it; that of a number is the same however it is written, as ``3`` and ``3.0``.

    A number that would lose digits is left as it is.
    """
    text = text.strip()
    number = parse_number(text)
    if isinstance(number, float) and (_WHOLE.fullmatch(text) or not math.isfinite(number)):
        return text
    return text if number is None else str(number)


@dataclass(frozen=True)
class MissingValues:
    """Values that stand for a missing target.

    NaN is always one, and so are an empty text and what programs commonly write for it, such as ``NA`` and ``None``.

    Args:
        texts: Further texts.
        numbers: Numbers, in whichever way they are written.
    """

    texts: frozenset[str] = frozenset()
    numbers: frozenset[Number] = frozenset()

    @classmethod
    def of(cls, values: Iterable[str | Number]) -> MissingValues:
        """Return texts and numbers as missing values; a text that is a number is both."""
        texts = [value.strip() if isinstance(value, str) else str(value) for value in values]
        numbers = [value if isinstance(value, int | float) else parse_number(value) for value in values]
        return cls(frozenset(texts), frozenset(number for number in numbers if number is not None))

    def includes(self, text: str) -> bool:
        """Return whether a text stands for a missing target."""
        return text in _TEXTS or text in self.texts or (bool(self.numbers) and parse_number(text) in self.numbers)

    def find(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Return where targets are missing, in the shape of ``values``, texts or numbers."""
        if values.dtype.kind in "US":
            texts = [self.includes(text) for text in values.ravel().tolist()]
            return np.array(texts, dtype=bool).reshape(values.shape)
        missing = np.isnan(values) if values.dtype.kind in "fc" else np.zeros(values.shape, dtype=bool)
        for number in self.numbers if values.dtype.kind in "buifc" else ():
            missing |= values == number
        return missing


@dataclass(frozen=True)
class Values:
    """The targets of a task as they were read.

    Args:
        array: Texts or numbers of shape (N,), or (N, *space) for dense tasks.
        missing: Bool of the same shape: where there is no target, whatever ``array`` holds there.
    """

    array: NDArray[Any]
    missing: NDArray[np.bool_]


@dataclass(frozen=True)
class TaskTable:
    """One task as a study file describes it.

    Args:
        name: The task's name.
        type: Its type.
        key: Where its targets stand: an array of an npz file, or a column of a table.
        options: The further keys, options of the task.
        missing: Values that stand for a missing target, in a table those of cells.
        missing_pixels: Those of pixels without a target, in dense tasks.
        missing_key: Array that is true where a target is missing; none if None.
        class_values: The value of each class, if the study file says it.
    """

    name: str
    type: str
    key: str
    options: dict[str, Any]
    missing: MissingValues = field(default_factory=MissingValues)
    missing_pixels: MissingValues = field(default_factory=MissingValues)
    missing_key: str | None = None
    class_values: tuple[str, ...] = ()

    @property
    def is_dense(self) -> bool:
        """Whether there is a target for every pixel."""
        return self.type in _PIXEL_OPTIONS

    @property
    def has_classes(self) -> bool:
        """Whether targets are classes, not quantities."""
        return "num_classes" in _fields(self.type)

    @property
    def missing_option(self) -> str:
        """The option that names values which stand for a missing target."""
        return _PIXEL_OPTIONS.get(self.type, "missing")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, if the study file says them."""
        return tuple(self.options.get("classes", ()))

    @property
    def scale(self) -> float:
        """The divisor of a quantity for training."""
        return float(self.options.get("scale", 1.0))

    def build(self, **found: Any) -> Task:
        """Return the task with options found from the data, unless the table has them or the type has not.

        Raises:
            DataError: If an option is unknown or its value not allowed.
        """
        known = {key: value for key, value in found.items() if key in _fields(self.type)}
        try:
            return task_from_dict({"type": self.type, "name": self.name, **known, **self.options})
        except DataError as error:
            raise DataError(f"tasks.{self.name}: {error}") from error


def read_task_tables(
    tables: Mapping[str, Mapping[str, Any]], missing: Sequence[str | Number], *, arrays: bool
) -> list[TaskTable]:
    """Check the tables of tasks.

    Args:
        tables: By task name; ``type`` is required, ``key`` is the task's name if it is missing.
        missing: Values that stand for a missing target in all tasks, besides those of each.
        arrays: Whether targets stand in arrays: ``missing`` may name one, and holds for pixels too.

    Raises:
        DataError: If there is no table, or a type is missing or unknown, or another option is not allowed.
    """
    if not tables:
        raise DataError('tasks: describe at least one, such as [data.tasks.age] with type = "regression"')
    return [_read(name, dict(table), tuple(missing), arrays) for name, table in tables.items()]


def _read(name: str, options: dict[str, Any], missing: tuple[str | Number, ...], arrays: bool) -> TaskTable:
    kind, key = options.pop("type", None), options.pop("key", name)
    own = _check_options(name, kind, key, options)
    missing_key, pixels = None, tuple[str | Number, ...]()
    for option in own:
        values = options.pop(option, [])
        if arrays and isinstance(values, str):
            missing_key = values
        elif not isinstance(values, list | tuple) or not all(
            isinstance(value, str | int | float) and not isinstance(value, bool) for value in values
        ):
            raise DataError(
                f"tasks.{name}.{option}: must be a list of the values that stand for a missing target, got {values!r}"
            )
        elif option == "missing":
            missing += tuple(values)
        else:
            pixels = tuple(values)
    if arrays:  # in which a value is that of a pixel; in a table it is the name of a file
        missing, pixels = missing + pixels, missing + pixels
    class_values = _take_class_values(name, options, are_pixels=kind in _PIXEL_OPTIONS)
    found = MissingValues.of(missing), MissingValues.of(pixels)
    table = TaskTable(name, kind, key, options, *found, missing_key, class_values)
    weights = options.get("class_weights")
    table.build(num_classes=max(2, len(weights) if isinstance(weights, list | tuple) else 0))
    return table


def _check_options(name: str, kind: Any, key: Any, options: Mapping[str, Any]) -> list[str]:
    """Check the keys of a table, and the values that all tasks share; return the options that name missing values."""
    if not isinstance(kind, str) or kind not in task_types:
        raise DataError(f"tasks.{name}.type: must be one of {', '.join(map(repr, task_types))}, got {kind!r}")
    if not isinstance(key, str):
        raise DataError(f"tasks.{name}.key: must be the name of an array or column, got {key!r}")
    for option, (low, high, whole) in _BOUNDS.items():
        value = options.get(option, low)
        is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:
            what = "whole number" if whole else "number"
            raise DataError(f"tasks.{name}.{option}: must be a {what} from {low:g} to {high:g}, got {value!r}")
    if isinstance(weights := options.get("class_weights"), str):
        raise DataError(
            f"tasks.{name}.class_weights: must be a list of numbers here, got {weights!r}; [tasks.{name}] of the study "
            "file takes 'balanced'"
        )
    own = ["missing", *([_PIXEL_OPTIONS[kind]] if kind in _PIXEL_OPTIONS else [])]
    allowed = ["type", "key", *own, *(field for field in _fields(kind) if field != "name")]
    unknown = [option for option in options if option not in allowed]
    if unknown:
        raise DataError(f"tasks.{name}: a {kind} has no key {unknown[0]!r}; allowed: {', '.join(allowed)}")
    return own


def _take_class_values(name: str, options: dict[str, Any], *, are_pixels: bool) -> tuple[str, ...]:
    """Replace ``classes = {3 = "cat", 7 = "dog"}`` in options by the names, and return the values."""
    classes = options.get("classes")
    if not isinstance(classes, dict | list | tuple) or not classes:
        return ()
    options.setdefault("num_classes", len(classes))
    if not isinstance(classes, dict):
        if not are_pixels or not all(isinstance(one, str) and isinstance(parse_number(one), int) for one in classes):
            return ()
        classes = {one: one for one in classes}
    values = {value: normalise(value) for value in classes}
    if len(set(values.values())) < len(values):
        raise DataError(f"tasks.{name}.classes: names a value twice: {', '.join(classes)}")
    if are_pixels:  # the lowest is the background, as everywhere
        numbers = {value: parse_number(value.strip()) for value in classes}
        if texts := [value for value, number in numbers.items() if not isinstance(number, int)]:
            raise DataError(f"tasks.{name}.classes: must give names to whole numbers, got {texts[0]!r}")
        values = {value: values[value] for value in sorted(values, key=lambda value: numbers[value] or 0)}
    options["classes"] = [classes[value] for value in values]
    return tuple(values.values())


def _fields(kind: str) -> list[str]:
    return [field.name for field in fields(task_types[kind])]
