"""Settings that are a value, a list of choices, or a range for Optuna to tune."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

T = TypeVar("T")

SMALLEST = 1e-6
"""The smallest probability, and part of a whole, that single precision tells from none."""

_MOST_CHOICES = 1000


@dataclass(frozen=True)
class Fixed(Generic[T]):
    """A setting that is not tuned."""

    value: T


@dataclass(frozen=True)
class Choices(Generic[T]):
    """A setting that Optuna picks from a list."""

    values: tuple[T, ...]


@dataclass(frozen=True)
class Range:
    """A number that Optuna draws between two bounds, both included.

    Args:
        low: Lower bound.
        high: Upper bound.
        log: Whether to search on a logarithmic scale.
    """

    low: float
    high: float
    log: bool = False


Setting = Fixed[T] | Choices[T] | Range


class RangeTable(BaseModel):
    """A range as study files write it, for their JSON schema."""

    model_config = ConfigDict(extra="forbid")
    low: float
    high: float
    log: bool = False


def _number(low: float, high: float) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError
        return float(value)

    return check


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _word(allowed: Sequence[str]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in allowed:
            raise ValueError
        return str(value)

    return check


def _vector(value: Any) -> tuple[float, ...]:
    check = _number(SMALLEST, 1.0 / SMALLEST)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ValueError
    return tuple(check(item) for item in value)


def _parse(value: Any, check: Callable[[Any], T], item: str, ranged: bool) -> Setting[T]:
    allowed = f"must be {item}, a list of choices" + (", or a range {low, high, log}" if ranged else "")
    if isinstance(value, Fixed | Choices | Range):
        return value
    try:
        return Fixed(check(value))
    except ValueError:
        pass
    try:
        if isinstance(value, Mapping) and ranged:
            return _range(value, check)
        if isinstance(value, Sequence) and not isinstance(value, str) and value:
            return _choices(tuple(check(item) for item in value))
    except ValueError as error:
        raise ValueError(f"{allowed}{f' ({error})' if str(error) else ''}") from None
    raise ValueError(allowed)


def _choices(values: tuple[T, ...]) -> Choices[T]:
    if len(values) > _MOST_CHOICES or len(set(values)) < len(values):
        raise ValueError(f"choices are at most {_MOST_CHOICES}, each different")
    return Choices(values)


def _range(value: Mapping[str, Any], check: Callable[[Any], Any]) -> Range:
    unknown = set(value) - {"low", "high", "log"}
    if unknown or not {"low", "high"} <= set(value):
        raise ValueError("a range has the keys low, high and, if wanted, log = true")
    low, high, log = check(value["low"]), check(value["high"]), value.get("log", False)
    if not isinstance(log, bool):
        raise ValueError("log must be true or false")
    if not low < high:
        raise ValueError(f"low must be below high, got {low:g} and {high:g}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range needs low > 0, got {low:g}")
    return Range(low, high, log)


def _checked(check: Callable[[Any], Any], item: str, written: Any, ranged: bool = False) -> PlainValidator:
    """Return the validator of a setting, with the type of one item as JSON schemas describe it."""
    schema = written | list[written] | RangeTable if ranged else written | list[written]
    return PlainValidator(lambda value: _parse(value, check, item, ranged), json_schema_input_type=schema)


def words(literal: Any) -> PlainValidator:
    """Return the validator of a setting that is one of a ``Literal``'s words."""
    allowed = get_args(literal)
    return _checked(_word(allowed), f"one of {', '.join(map(repr, allowed))}", literal)


def _as_written(setting: Fixed[Any] | Choices[Any] | Range) -> Any:
    """Return a setting as study files write it."""
    if isinstance(setting, Fixed):
        return setting.value
    return list(setting.values) if isinstance(setting, Choices) else asdict(setting)


_as_data = PlainSerializer(_as_written)
NumberSetting = Annotated[Setting[float], _as_data]
WordSetting = Annotated[Setting[str], _as_data]
FlagSetting = Annotated[Setting[bool], _as_data, _checked(_flag, "true or false", bool)]
VectorSetting = Annotated[
    Setting[tuple[float, ...]],
    _as_data,
    _checked(
        _vector,
        f"a list of numbers from {SMALLEST:g} to {1 / SMALLEST:g} (one per task, then shared)",
        list[Annotated[float, Field(ge=SMALLEST, le=1 / SMALLEST)]],
    ),
]


def numbers(low: float, high: float) -> PlainValidator:
    """Return the validator of a setting that is a number between two bounds, both included."""
    written = Annotated[float, Field(ge=low, le=high)]
    return _checked(_number(low, high), f"a number from {low:g} to {high:g}", written, ranged=True)
