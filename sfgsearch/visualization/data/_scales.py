"""Axes that both drawing libraries lay out alike."""

from __future__ import annotations

import math
from collections.abc import Iterable

from sfgsearch.reporting._formats import thousands

_DECADE = 10.0
_FEWEST_TICKS, _MOST_TICKS = 3, 8
_STEPS = ((1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0), (1.0,))


def spans_decades(values: Iterable[float]) -> bool:
    """Tell whether positive values span a factor of ten or more, so that a logarithmic axis serves."""
    known = [value for value in values if math.isfinite(value)]
    return bool(known) and min(known) > 0 and max(known) / min(known) >= _DECADE


def log_ticks(values: Iterable[float]) -> list[float]:
    """Return about three to eight round numbers that a logarithmic axis over some positive values should name."""
    known = [value for value in values if math.isfinite(value) and value > 0]
    if not known:
        return [1.0]
    low, high = min(known) / 1.15, max(known) * 1.15
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [[step * 10.0**decade for decade in decades for step in steps] for steps in _STEPS]
    coarse, fine, decimal = ([tick for tick in ticks if low <= tick <= high] for ticks in found)
    if len(coarse) < _FEWEST_TICKS:
        return fine
    return decimal if len(coarse) > _MOST_TICKS else coarse


def tick_text(value: float) -> str:
    """Return a round number as an axis names it."""
    return thousands(round(value, 12)) if value >= 1000 else f"{value:.3g}"
