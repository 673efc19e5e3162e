"""Ticks and ends of axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from sfgsearch.comparison._formats import thousands
from sfgsearch.visualization._description import Axis

_DECADE = 10.0
_FEWEST_TICKS, _MOST_TICKS = 3, 8
_STEPS = ((1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0), (1.0,), (1.0, 3.0))
_LETTER, _APART = 6.5, 8.0
"""Pixels of a letter, and between the labels of an axis."""

_MOST_DIGITS = 9
_SMALL = 0.9995e-3
_MARGIN = 0.06
"""Of an axis beyond its values, as a part of what they span."""


def value_axis(
    values: Iterable[float],
    title: str = "",
    *,
    is_log: bool | None = None,
    length: float = math.inf,
    has_labels: bool = True,
    starts_at_zero: bool = False,
) -> Axis:
    """Return an axis that holds some values, logarithmic with a few round ticks where it shall be.

    Args:
        values: What is drawn.
        title: What stands along it.
        is_log: Whether it is logarithmic; where values span a decade if None.
        length: Pixels of a horizontal axis, where that is short.
        has_labels: Whether ticks have names.
        starts_at_zero: Whether a linear axis begins at zero.
    """
    known = [value for value in values if math.isfinite(value)] or [0.0]
    if spans_decades(known) if is_log is None else is_log:
        margin = (max(known) / min(known)) ** _MARGIN if max(known) > min(known) else 1.1
        ticks = tuple((tick, tick_text(tick)) for tick in log_ticks(known, length))
        return Axis((min(known) / margin, max(known) * margin), title, ticks, is_log=True, has_labels=has_labels)
    low, high = 0.0 if starts_at_zero else min(known), max(known)
    margin = _MARGIN * (high - low) or 0.05 * abs(high) or 0.5
    span = (low if starts_at_zero else low - margin, high + margin)
    return Axis(span, title, count=max(min(5, int(length // 45)), 2) if length < math.inf else 5, has_labels=has_labels)


def epoch_axis(epochs: Sequence[int], title: str = "") -> Axis:
    """Return the axis of some epochs: whole numbers."""
    margin = 0.03 * (epochs[-1] - epochs[0]) or 0.5
    ticks = ((float(epochs[0]), str(epochs[0])),) if len(epochs) == 1 else None
    return Axis((epochs[0] - margin, epochs[-1] + margin), title, ticks, count=4, is_integer=True, has_grid=False)


def spans_decades(values: Iterable[float]) -> bool:
    """Return whether positive values span a factor of ten or more, so that a logarithmic axis serves."""
    known = [value for value in values if math.isfinite(value)]
    return bool(known) and min(known) > 0 and max(known) / min(known) >= _DECADE


def fraction(value: float, axis: Axis) -> float:
    """Return where a value lies along an axis, from 0 at its first end to 1."""
    first, value, last = (math.log(one) if axis.is_log else one for one in (axis.span[0], value, axis.span[1]))
    return (value - first) / (last - first)


def log_ticks(values: Iterable[float], length: float = math.inf) -> list[float]:
    """Return about three to eight round numbers that a logarithmic axis over some positive values should name.

    Args:
        values: What is drawn.
        length: Pixels of a horizontal axis, where that is short: there are fewer where they would run together.
    """
    known = [value for value in values if math.isfinite(value) and value > 0]
    if not known:
        return [1.0]
    low, high = min(known) / 1.15, max(known) * 1.15
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [[step * 10.0**decade for decade in decades for step in steps] for steps in _STEPS]
    coarse, fine, decimal, halves = ([tick for tick in ticks if low <= tick <= high] for ticks in found)
    wanted = fine if len(coarse) < _FEWEST_TICKS else decimal if len(coarse) > _MOST_TICKS else coarse
    wanted = wanted or [float(f"{min(known):.2g}")]  # values so close that no round number is between them
    if math.isinf(length):
        return wanted
    choices = (wanted, coarse, halves, decimal, decimal[::2], decimal[::3], wanted[:: max(len(wanted) - 1, 1)])
    per_decade = length / math.log10(high / low)
    return next((ticks for ticks in choices if len(ticks) > 1 and _fit(ticks, per_decade)), wanted[:1])


def _fit(ticks: Sequence[float], per_decade: float) -> bool:
    """Return whether the labels of ticks stay apart on a horizontal axis with so many pixels per decade."""
    widths = [_LETTER * len(tick_text(tick)) for tick in ticks]
    return all(
        per_decade * math.log10(right / left) >= (width + next_width) / 2 + _APART
        for left, right, width, next_width in zip(ticks, ticks[1:], widths, widths[1:], strict=False)
    )


def tick_text(value: float) -> str:
    """Return a round number as an axis names it."""
    return thousands(round(value, 12)) if value >= 1000 else _in_digits(value, 3)


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """Return what an axis calls round numbers, in as many digits as tell them apart."""
    texts = [tick_text(tick) for tick in ticks]
    for digits in range(4, _MOST_DIGITS + 1):
        if len(set(texts)) == len(set(ticks)):
            break
        texts = [_in_digits(tick, digits) for tick in ticks]
    return texts


def _in_digits(value: float, digits: int) -> str:
    """Return a number in few letters, below a thousandth with a power of ten, from a thousand on in full."""
    if abs(value) >= 1000:
        return f"{value:.10g}"
    if not 0 < abs(value) < _SMALL:
        return f"{value:.{digits}g}"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"
