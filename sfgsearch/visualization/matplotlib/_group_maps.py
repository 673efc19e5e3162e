"""One map per group, of layers against something else, drawn with matplotlib."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sfgsearch.visualization._colours import group_colours
from sfgsearch.visualization._study_marks import shortened
from sfgsearch.visualization.data._group_maps import GroupMaps
from sfgsearch.visualization.matplotlib._sheet import (
    WIDTH,
    Sheet,
    label_width,
    name_layers,
    name_ticks,
    plain,
)
from sfgsearch.visualization.matplotlib._study_axes import literal

_MOST_IN_A_ROW, _COLUMNS, _GAP = 4, 3, 16
_ROOMY, _TIGHT, _MANY = 24, 15, 12
_SCALE = 78


def draw_group_maps(title: str, maps: GroupMaps) -> Figure:
    """Draw maps from white to the colour of their group, side by side, and a legend of the colours.

    Args:
        title: The figure's title.
        maps: What they show.
    """
    columns = len(maps.groups) if len(maps.groups) <= _MOST_IN_A_ROW else _COLUMNS
    rows = math.ceil(len(maps.groups) / columns)
    height = len(maps.layers) * (_TIGHT if len(maps.layers) > _MANY else _ROOMY)
    sheet = Sheet(title, rows * (height + 62) + _SCALE)
    left = label_width(maps.layers)
    step = (WIDTH - left - 8) / columns
    for index, (group, colour) in enumerate(group_colours(maps.groups[:-1]).items()):
        row, column = divmod(index, columns)
        axes = sheet.axes(left + column * step, 24 + row * (height + 62), step - _GAP, height)
        axes.set_title(literal(shortened(group, int(step // 7))), fontsize=9, color=colour, pad=4, weight="bold")
        _draw(axes, maps, index, colour)
        name_layers(axes, maps.layers, labelled=column == 0)
        axes.set_xlabel(maps.across, fontsize=8, labelpad=2)
    _draw_scale(sheet, maps, rows * (height + 62) + 14, left)
    return sheet.figure


def _ramp(colour: str) -> LinearSegmentedColormap:
    return LinearSegmentedColormap.from_list("group", ["white", colour])


def _draw(axes: Axes, maps: GroupMaps, group: int, colour: str) -> None:
    plain(axes, spines=("left", "bottom", "top", "right"))
    first, last = maps.edges
    axes.imshow(
        maps.strength(maps.values[group]),
        cmap=_ramp(colour),
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
        extent=(first, last, len(maps.layers) - 0.5, -0.5),
    )
    found = MaxNLocator(4, integer=last > 1).tick_values(first, last)
    ticks = [tick for tick in found if first <= tick <= last]
    name_ticks(axes, "x", ticks, [f"{tick:g}" for tick in ticks])


def _draw_scale(sheet: Sheet, maps: GroupMaps, top: float, left: float) -> None:
    """Draw the colours of all groups, from 0 to 1, one below the other."""
    axes = sheet.axes(left, top + 14, 200, 30)
    plain(axes, spines=())
    colours = group_colours(maps.groups[:-1]).values()
    shades = np.stack([_ramp(colour)(np.linspace(0, 1, 64))[:, :3] for colour in colours])
    axes.imshow(shades, aspect="auto", interpolation="nearest", extent=(0, 1, 0, 1))
    places = maps.strength([value for value, _ in maps.scale])
    name_ticks(axes, "x", places.tolist(), [label for _, label in maps.scale])
    name_ticks(axes, "y", [], [])
    sheet.text(left, top + 6, maps.quantity)
