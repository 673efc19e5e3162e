"""How numbers are written for people, in tables, figures and sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sfgsearch.reporting._comparison import RELATIVE_ERROR
from sfgsearch.reporting._paired import PairedTest
from sfgsearch.reporting._statistics import Interval
from sfgsearch.tasks import FRACTION


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
    return "%" if unit == FRACTION else unit


def quantity_name(key: str) -> str:
    """Return what people call a metric ``"<task>/<metric>"`` or the relative error."""
    return "relative error" if key == RELATIVE_ERROR else " ".join(key.rsplit("/", 1))


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
        return f"{100 * value:.1f}" if self._units.get(key, FRACTION) == FRACTION else f"{value:.3g}"

    def interval(self, key: str, value: Interval, seeds: int) -> str:
        """Return a mean and half its interval; a dash for the interval of a single seed."""
        margin = self.value(key, value.half_width) if seeds > 1 else "-"
        return f"{self.value(key, value.mean)} ±{margin}"


def difference(test: PairedTest, value: float) -> str:
    """Return a difference of a test with its sign; those of fractions in percentage points."""
    if not math.isfinite(value):
        return "-"
    return f"{100 * value:+.1f}" if test.unit == FRACTION else f"{value:+.3g}"


def difference_unit(test: PairedTest) -> str:
    """Return the unit of a test's differences."""
    return "points" if test.unit == FRACTION else test.unit


def cells_of_test(test: PairedTest) -> tuple[str, ...]:
    """Return a test as cells: quantity, difference, interval, bootstrap interval, opposite sign, outcome."""
    name = quantity_name(test.quantity)
    if test.difference is None or test.bootstrap is None:
        return name, "-", "-", "-", "-", test.sentence
    found, resampled = test.difference, test.bootstrap.interval
    return (
        name,
        f"{difference(test, found.mean)} {difference_unit(test)}".strip(),
        f"{difference(test, found.low)} to {difference(test, found.high)}",
        f"{difference(test, resampled.low)} to {difference(test, resampled.high)}",
        percent(test.bootstrap.reversed),
        test.sentence,
    )


TEST_TITLES = ("quantity", "difference", "95 % interval", "bootstrap", "opposite sign", "outcome")
"""The titles of :func:`cells_of_test`."""
