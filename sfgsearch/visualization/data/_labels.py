"""Where names stand beside the points of a figure, for either drawing library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_LETTER, _LINE, _MARK = 6.0, 13.0, 8.0
"""Pixels of a letter, of a line, and from a point to its name."""
_OUTSIDE = 4.0
"""What a name weighs that leaves the figure, where one on another name weighs one."""

Box = tuple[float, float, float, float]


class Label(NamedTuple):
    """A name and the side of its point that it stands on.

    Args:
        text: The name.
        horizontal: ``"left"``, ``"center"`` or ``"right"``.
        vertical: ``"top"``, ``"middle"`` or ``"bottom"``.
    """

    text: str
    horizontal: str
    vertical: str


_SIDES = [
    *(("right", "middle"), ("left", "middle"), ("center", "top"), ("center", "bottom")),
    *(("right", "top"), ("right", "bottom"), ("left", "top"), ("left", "bottom")),
]


def fractions(values: Sequence[float], *, is_log: bool) -> list[float]:
    """Return where values lie between the least, at 0, and the greatest, at 1, along an axis."""
    known = [math.log(value) if is_log else value for value in values]
    low, high = min(known, default=0.0), max(known, default=0.0)
    return [(value - low) / (high - low) if high > low else 0.5 for value in known]


def place_labels(
    names: Sequence[str], points: Sequence[tuple[float, float]], width: float, height: float
) -> list[Label]:
    """Place names one after the other, each on the side on which it meets the fewest names, points and edges.

    Args:
        names: Those of the first points.
        points: Where all points lie, as fractions of the width and, from below, of the height.
        width: Of the figure between its axes, in pixels.
        height: Likewise.
    """
    where = [(x * width, y * height) for x, y in points]
    marks = [(x - _MARK / 2, y - _MARK / 2, x + _MARK / 2, y + _MARK / 2) for x, y in where]
    labels, taken = list[Label](), list[Box]()
    for index, name in enumerate(names):
        boxes = {side: _box(where[index], _LETTER * len(name), *side) for side in _SIDES}
        others = [*taken, *marks[:index], *marks[index + 1 :]]
        side = min(_SIDES, key=lambda side: _weight(boxes[side], others, width, height))
        taken.append(boxes[side])
        labels.append(Label(name, *side))
    return labels


def _box(point: tuple[float, float], length: float, horizontal: str, vertical: str) -> Box:
    """Return left, bottom, right and top of a name beside a point."""
    x, y = point
    left = {"left": x - _MARK - length, "center": x - length / 2, "right": x + _MARK}[horizontal]
    bottom = {"top": y + _MARK, "middle": y - _LINE / 2, "bottom": y - _MARK - _LINE}[vertical]
    return left, bottom, left + length, bottom + _LINE


def _weight(box: Box, others: Sequence[Box], width: float, height: float) -> float:
    left, bottom, right, top = box
    # Above and below the points axes have room for a line.
    outside = left < 0 or right > width or bottom < -_LINE or top > height + _LINE
    return _OUTSIDE * outside + sum(
        left < other[2] and other[0] < right and bottom < other[3] and other[1] < top for other in others
    )
