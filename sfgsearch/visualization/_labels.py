"""Where names stand beside the points of a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sfgsearch.visualization._description import Horizontal, Text, Vertical

_LETTER, _LINE, _MARK = 6.0, 13.0, 8.0
"""Pixels of a letter, of a line, and from a point to its name."""

_STEP = 4.0
"""Pixels between the points that a line is taken for."""

_ON_NAME, _ON_MARK, _ON_LINE, _OUTSIDE, _FAR = 10.0, 1.0, 0.2, 20.0, 0.6
"""Weights of a position: for each name, mark and point of a line in it, for leaving the panel, and for every line of
text that it is further away."""

_SIDES = [
    *((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)),
    *((right, up) for distance in (2, 3, 4, 5) for up in (distance, -distance) for right in (1, -1, 0)),
]
"""To the right and upwards, the latter in lines of text."""

_HORIZONTAL: dict[int, Horizontal] = {1: "left", 0: "center", -1: "right"}
_VERTICAL: dict[int, Vertical] = {1: "bottom", 0: "middle", -1: "top"}

Floats = NDArray[np.float64]
Point = tuple[float, float]


def place_names(
    names: Sequence[str],
    points: Sequence[Point],
    lines: Sequence[tuple[Point, Point]],
    width: float,
    height: float,
) -> list[Text]:
    """Place names one after the other, each on the side where it meets the fewest names, points, lines and edges.

    Args:
        names: Those of the first points.
        points: Where all points lie, as parts of a panel's width and, from below, of its height.
        lines: The ends of straight lines, likewise.
        width: Of the panel, in pixels.
        height: Likewise.

    Returns:
        Texts at 0, 0 with their shifts from the points.
    """
    extent = np.array([width, height])
    centres = np.array(points, dtype=float).reshape(-1, 2) * extent
    marks = np.hstack([centres - _MARK / 2, centres + _MARK / 2])
    crossed = np.concatenate([np.zeros((0, 2)), *(_along(np.array(ends) * extent) for ends in lines)])
    crossed = np.hstack([crossed, crossed])
    texts, taken = list[Text](), np.zeros((0, 4))
    for index, name in enumerate(names):
        others = np.delete(marks, index, axis=0)
        boxes = [_box(centres[index], _LETTER * len(name), *side) for side in _SIDES]
        weights = [
            _ON_NAME * _meets(box, taken)
            + _ON_MARK * _meets(box, others)
            + _ON_LINE * _meets(box, crossed)
            + _OUTSIDE * _leaves(box, extent)
            + _FAR * abs(up)
            for box, (_, up) in zip(boxes, _SIDES, strict=True)
        ]
        best = int(np.argmin(weights))
        (right, up), taken = _SIDES[best], np.vstack([taken, boxes[best]])
        shift = (_MARK * right, _rise(up))
        texts.append(Text(0, 0, name, shift, _HORIZONTAL[right], _VERTICAL[_sign(up)], size=10, has_halo=True))
    return texts


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _rise(up: int) -> float:
    """Return the pixels from a point up to the nearer end of a name."""
    return _sign(up) * (_MARK + _LINE * (abs(up) - 1)) if up else 0.0


def _along(ends: Floats) -> Floats:
    """Return points along a line, shape (points, 2)."""
    count = max(int(np.linalg.norm(ends[1] - ends[0]) / _STEP), 1)
    return np.asarray(np.linspace(ends[0], ends[1], count + 1), dtype=float)


def _box(point: Floats, length: float, right: int, up: int) -> Floats:
    """Return left, bottom, right and top of a name beside a point."""
    left = point[0] + (right - 1) * length / 2 + right * _MARK
    bottom = point[1] + (_sign(up) - 1) * _LINE / 2 + _rise(up)
    return np.array([left, bottom, left + length, bottom + _LINE])


def _meets(box: Floats, others: Floats) -> int:
    """Return how many other boxes a box overlaps."""
    return int(((box[:2] < others[:, 2:]) & (others[:, :2] < box[2:])).all(1).sum())


def _leaves(box: Floats, extent: Floats) -> bool:
    """Return whether a box leaves the panel; above and below the points axes have room for a line."""
    return bool(box[0] < 0 or box[2] > extent[0] or box[1] < -_LINE or box[3] > extent[1] + _LINE)
