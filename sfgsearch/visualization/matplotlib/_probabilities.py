"""Group probabilities over training, drawn with matplotlib."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sfgsearch.visualization._colours import group_colours
from sfgsearch.visualization._study_marks import shortened
from sfgsearch.visualization._trial_titles import NO_PROBABILITIES, trial_title
from sfgsearch.visualization.data._trajectories import History, Trajectories, trajectories
from sfgsearch.visualization.matplotlib._group_maps import draw_group_maps
from sfgsearch.visualization.matplotlib._sheet import (
    FAINT,
    WIDTH,
    Sheet,
    epoch_ticks,
    name_ticks,
    plain,
)
from sfgsearch.visualization.matplotlib._study_axes import literal

_COLUMNS, _LEFT, _HEIGHT, _ROW = 4, 46, 140, 186


def plot_probabilities(history: History) -> Figure:
    """Plot the mean probability of every group over the epochs of a training, layer by layer.

    The twin of :func:`sfgsearch.visualization.plot_probabilities`.

    Args:
        history: A trial, reports of its epochs, or what its ``history.json`` holds.

    Returns:
        A matplotlib figure with a panel per layer, or with more than eight layers a map of layers against epochs per
        group.
    """
    found = trajectories(history)
    title = trial_title(history, "mean probability of every group over training")
    if not found.layers:
        return Sheet.saying(title, NO_PROBABILITIES)
    return draw_group_maps(title, found.maps()) if found.are_many else _draw_curves(title, found)


def _draw_curves(title: str, found: Trajectories) -> Figure:
    columns = min(len(found.layers), _COLUMNS)
    rows = math.ceil(len(found.layers) / columns)
    colours = group_colours(found.groups[:-1])
    sheet = Sheet(title, rows * _ROW + 12, colours)
    step = (WIDTH - _LEFT - 12) / columns
    for index, layer in enumerate(found.layers):
        row, column = divmod(index, columns)
        axes = sheet.axes(_LEFT + column * step, 22 + row * _ROW, step - 16, _HEIGHT)
        axes.set_title(literal(shortened(layer, int(step // 7))), fontsize=8.5, pad=4)
        _draw_layer(axes, found, index, list(colours.values()))
        epoch_ticks(axes, found.epochs, count=4)
        name_ticks(axes, "y", [0, 0.5, 1], ["0", "0.5", "1"] if column == 0 else [""] * 3)
        if index + columns >= len(found.layers):
            axes.set_xlabel("epochs trained", fontsize=8, labelpad=2)
        if column == 0:
            axes.set_ylabel("mean probability", fontsize=8, labelpad=2)
    return sheet.figure


def _draw_layer(axes: Axes, found: Trajectories, layer: int, colours: list[str]) -> None:
    plain(axes)
    axes.grid(True, axis="y", color=FAINT, linewidth=0.8)
    axes.set_ylim(-0.03, 1.03)
    marker = "o" if len(found.epochs) == 1 else None
    for group, colour in enumerate(colours):
        axes.plot(found.epochs, found.probs[layer, :, group], color=colour, marker=marker, linewidth=1.8)
