"""Rows of layers in figures: their heights, and the names and borders of stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sfgsearch._stages import MOST_LAYERS, stages_of
from sfgsearch.visualization._description import INK, Axis, Line, row_axis
from sfgsearch.visualization._layout import shortened

LABEL, _THINNEST = 13.0, 3.0
"""Pixels that the name of a row needs, and of a row without one."""


def rows_height(number: int, roomy: float, tight: float, few: int) -> float:
    """Return the height of the rows of so many layers, in pixels.

    Args:
        number: Layers.
        roomy: Height of a row where there are few.
        tight: Height of a row where there are more, up to those that have stages: then all together are as high as 20.
        few: Layers up to which rows are roomy.
    """
    if number <= MOST_LAYERS:
        return float(number * (roomy if number <= few else tight))
    return max(MOST_LAYERS * tight, number * _THINNEST)


def stage_rows(names: Sequence[str], height: float) -> dict[str, float]:
    """Return the middle rows of stages by name, of those that there is room to name.

    Args:
        names: The layers, in depth order, each of which is a row.
        height: Pixels of all rows together; where that is low, the smaller ones of two stages go without their names.
    """
    rows = {name: row for row, name in enumerate(names)}
    pitch, found = height / len(names) + 1e-6, dict[str, float]()
    for stage, layers in sorted(stages_of(names).items(), key=lambda stage: -len(stage[1])):
        row = sum(rows[name] for name in layers) / len(layers)
        if all(abs(row - other) * pitch >= LABEL for other in found.values()):
            found[stage] = row
    return found


def stage_borders(names: Sequence[str], left: float, right: float) -> tuple[Line, ...]:
    """Return the lines between stages of several layers, from one end of a panel to the other; none of small networks.

    Args:
        names: The layers, in depth order, each of which is a row.
        left: One end of the horizontal axis.
        right: The other one.
    """
    if len(names) <= MOST_LAYERS:
        return ()
    stage = {name: stage for stage, layers in stages_of(names).items() for name in layers}
    borders = [row - 0.5 for row in range(1, len(names)) if stage[names[row]] != stage[names[row - 1]]]
    gap = float("nan")
    return (Line([left, right, gap] * len(borders), [y for row in borders for y in (row, row, gap)], INK, width=0.6),)


def layer_axis(names: Sequence[str], height: float, *, has_labels: bool = True) -> Axis:
    """Return a vertical axis of layers from the top, which names stages in their middle; see :func:`stage_rows`."""
    ticks = sorted((row, shortened(stage)) for stage, row in stage_rows(names, height).items())
    return replace(row_axis(names, has_labels=has_labels), ticks=tuple(ticks))
