"""One map per group, of layers against something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfgsearch._stages import stages_of
from sfgsearch.visualization._description import Axis, Figure, Heat, Panel, Text
from sfgsearch.visualization._layout import BOLD_LETTER, PAGE, Frame, Rect, label_width, shortened
from sfgsearch.visualization._stages import layer_axis, rows_height, stage_borders
from sfgsearch.visualization._style import group_colours

_MOST_IN_A_ROW, _COLUMNS = 4, 3
_ROOMY, _TIGHT, _FEW = 26, 15, 12
_NAMED = (0.0, 0.05, 0.25, 0.5, 1.0)
"""Values that the legend of colours names."""

_SHADES = np.linspace(0, 1, 64)[None] ** 2


def group_maps(
    title: str,
    values: ArrayLike,
    x: Axis,
    *,
    groups: Sequence[str],
    layers: Sequence[str],
    quantity: str,
    percent: bool,
) -> Figure:
    """Return maps from white to the colour of their group, side by side, and a legend of how strong colours are.

    Args:
        title: The figure's title.
        values: From 0 to 1, shape (groups, layers, positions), where positions fill the horizontal axis.
        x: That axis.
        groups: The tasks in order, then shared.
        layers: In depth order.
        quantity: What values are.
        percent: Whether they are written in percent.
    """
    found: NDArray[np.float64] = np.asarray(values, dtype=float)
    columns = len(groups) if len(groups) <= _MOST_IN_A_ROW else _COLUMNS
    height = rows_height(len(layers), _ROOMY, _TIGHT, _FEW)
    heights = [height] * -(-len(groups) // columns)
    frame = Frame(PAGE, left=label_width(stages_of(layers)), top=26, foot=46, gap=18)
    rects, colours = frame.rects(columns, heights), group_colours(groups[:-1])
    letters = int((frame.width(columns) + frame.gap) // BOLD_LETTER)
    rows = (-0.5, len(layers) - 0.5)
    panels = [
        Panel(
            rects[index],
            replace(x, has_grid=False),
            layer_axis(layers, height, has_labels=index % columns == 0),
            (Heat(found[index], x.span, rows, colour, layers), *stage_borders(layers, *x.span)),
            (shortened(group, letters),),
            colour,
            "box",
        )
        for index, (group, colour) in enumerate(colours.items())
    ]
    top = frame.height(heights)
    legend = _legend(Rect(frame.left, top + 22, 240, 36), list(colours.values()), quantity, percent=percent)
    return Figure(title, (*panels, legend), top + 86)


def _legend(rect: Rect, colours: list[str], quantity: str, *, percent: bool) -> Panel:
    """Return a panel with the colours of all groups from 0 to 1, one strip below the other."""
    strips = [Heat(_SHADES, (0, 1), (row, row + 1), colour) for row, colour in enumerate(reversed(colours))]
    name = Text(0, 1, quantity, (0, 4), "left", "bottom", is_relative=True)
    ticks = tuple((value**0.5, f"{100 * value:.0f} %" if percent else f"{value:g}") for value in _NAMED)
    y = Axis((0, len(colours)), ticks=(), has_grid=False)
    return Panel(rect, Axis((0, 1), ticks=ticks, has_grid=False), y, (*strips, name), frame="box")
