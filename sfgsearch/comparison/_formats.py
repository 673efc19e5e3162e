"""How numbers are written for people, in tables, figures and sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sfgsearch.comparison._paired import PairedTest
from sfgsearch.comparison._rows import RELATIVE_ERROR
from sfgsearch.comparison._statistics import Interval
from sfgsearch.tasks import FRACTION

_PERCENT = "%"
_MOST_DIGITS = 6
_MOST_CLASSES = 20
_SMALLEST_P = 0.001
_THOUSAND = 999.5
"""From here on three digits would be written with a power of ten."""


def thousands(number: float) -> str:
    """Return a number in three digits or more with k, M or G."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:g}"


def percent(share: float) -> str:
    """Return a share in percent, those that would be rounded to nothing or all as a bound."""
    if 0 < share < 0.01 or share == 0:
        return "< 1 %"
    return "> 99 %" if share > 0.99 else f"{100 * share:.0f} %"


def scale_of(unit: str) -> float:
    """Return what values are multiplied with before they are written: shares are written in percent."""
    return 100.0 if unit == FRACTION else 1.0


def shown_unit(unit: str) -> str:
    """Return the unit that people read, which may be empty."""
    return _PERCENT if unit == FRACTION else unit


def class_names(task: Mapping[str, Any]) -> str:
    """Return the names of a task's classes in order, the first ones if there are many; empty if it has no classes.

    Args:
        task: The task as :func:`sfgsearch.tasks.task_to_dict` writes it.
    """
    number = task.get("num_classes")
    if number is None:
        return ""
    names = task.get("classes") or list(map(str, range(number)))
    more = f" and {len(names) - _MOST_CLASSES} more" if len(names) > _MOST_CLASSES else ""
    return ", ".join(names[:_MOST_CLASSES]) + more


def quantity_name(key: str) -> str:
    """Return what people call a metric ``"<task>/<metric>"`` or the relative error."""
    return "relative error" if key == RELATIVE_ERROR else " ".join(key.rsplit("/", 1))


def decimals_beside(mean: float, margin: float) -> int:
    """Return the decimals of a mean beside its margin of error: those that leave the margin two significant digits.

    That is what the Guide to the Expression of Uncertainty in Measurement asks for (JCGM 100:2008, 7.2.6): a margin of
    two digits, and a mean that ends where its margin ends. A mean has six significant digits at most. Below zero are
    the places before the decimal point: -1 stands for tens.

    Args:
        mean: The mean.
        margin: Half its interval; where that is zero or infinite, the mean has three significant digits.
    """
    place = _place(mean)
    if not margin or not math.isfinite(margin):
        return max(2 - place, 0)
    wanted = 1 - _place(margin)
    return min(wanted, max(_MOST_DIGITS - 1 - place, 0)) if mean else wanted


def _place(value: float) -> int:
    """Return the power of ten of the first digit, once a number is rounded to two."""
    return int(f"{value:.1e}".partition("e")[2]) if math.isfinite(value) else 0


def fixed(value: float, decimals: int, *, sign: str = "") -> str:
    """Return a number with some decimals, rounded to tens and more where they are below zero.

    Args:
        value: The number.
        decimals: How many.
        sign: ``"+"`` to write the sign of positive numbers too.
    """
    return f"{round(value, decimals) if math.isfinite(value) else value:{sign}.{max(decimals, 0)}f}"


def mean_with_margin(mean: float, margin: float, unit: str) -> tuple[str, str]:
    """Return a mean and half its interval with equal decimals: one in percent, others by :func:`decimals_beside`.

    Args:
        mean: The mean, as it is drawn: fractions in percent.
        margin: Half its interval.
        unit: What :func:`shown_unit` returns.
    """
    decimals = 1 if unit == _PERCENT else decimals_beside(mean, margin)
    return fixed(mean, decimals), fixed(margin, decimals)


def mean_in_words(mean: float, margin: float, unit: str, seeds: int) -> str:
    """Return a mean with its unit, and of several seeds half its interval too: ``"10.20 ±0.37 degrees"``.

    Args:
        mean: The mean, as it is drawn: fractions in percent.
        margin: Half its interval.
        unit: What :func:`shown_unit` returns.
        seeds: How many it is a mean of.
    """
    shown, beside = mean_with_margin(mean, margin, unit)
    return f"{shown} ±{beside} {unit}".strip() if seeds > 1 else f"{shown} {unit}".strip()


class MetricFormat:
    """How metrics are written: fractions in percent, others in their unit.

    Args:
        units: Units by ``"<task>/<metric>"``; what is missing is a fraction.
    """

    def __init__(self, units: Mapping[str, str]) -> None:
        self._units = units

    def unit(self, key: str) -> str:
        """Return what values are written in."""
        return shown_unit(self._units.get(key, FRACTION))

    def value(self, key: str, value: float) -> str:
        """Return one value."""
        if self._units.get(key, FRACTION) == FRACTION:
            return f"{100 * value:.1f}"
        return f"{value:.3g}" if abs(value) < _THOUSAND else f"{value:.0f}"

    def interval(self, key: str, value: Interval, seeds: int) -> str:
        """Return a mean and half its interval in equal decimals; a dash for the interval of a single seed.

        Fractions have one decimal of a percent, others those of :func:`decimals_beside`: ``"95.5 ±0.7"`` and
        ``"10.20 ±0.37"``.
        """
        if seeds < 2:
            return f"{self.value(key, value.mean)} ±-"
        scale = scale_of(self._units.get(key, FRACTION))
        mean, margin = mean_with_margin(scale * value.mean, scale * value.half_width, self.unit(key))
        return f"{mean} ±{margin}"


def difference(test: PairedTest, value: float) -> str:
    """Return a difference of a test, or an end of its interval, with its sign.

    Those of fractions are in percentage points with one decimal, others have those of :func:`decimals_beside`.
    """
    if not math.isfinite(value):
        return "-"
    if test.unit == FRACTION:
        return f"{100 * value:+.1f}"
    found = test.difference
    return fixed(value, decimals_beside(found.mean, found.half_width) if found else 2, sign="+")


def difference_unit(test: PairedTest) -> str:
    """Return the unit of a test's differences."""
    return "points" if test.unit == FRACTION else test.unit


def cells_of_test(test: PairedTest) -> tuple[str, ...]:
    """Return a test as cells, those of :data:`TEST_TITLES`."""
    name = quantity_name(test.quantity)
    if test.difference is None or test.bootstrap is None:
        return name, "-", "-", "-", "-", "-", test.sentence
    found, resampled = test.difference, test.bootstrap.interval
    return (
        name,
        f"{difference(test, found.mean)} {difference_unit(test)}".strip(),
        f"{difference(test, found.low)} to {difference(test, found.high)}",
        p_value(test).removeprefix("= "),
        f"{difference(test, resampled.low)} to {difference(test, resampled.high)}",
        percent(test.bootstrap.reversed),
        test.sentence,
    )


def p_value(test: PairedTest) -> str:
    """Return the corrected p-value of a test with its relation, ``"= 0.013"``; a dash where there is none."""
    if test.holm is None:
        return "-"
    return f"= {test.holm:.2g}" if test.holm >= _SMALLEST_P else f"< {_SMALLEST_P}"


TEST_TITLES = ("quantity", "difference", "95 % interval", "corrected p", "bootstrap", "opposite sign", "outcome")
"""The titles of :func:`cells_of_test`."""
