"""The course of a training, drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sfgsearch.visualization._colours import task_colours
from sfgsearch.visualization._trial_titles import NO_HISTORY, trial_title
from sfgsearch.visualization.data._curves import ALL, CurvePanel, curves
from sfgsearch.visualization.data._trajectories import History
from sfgsearch.visualization.matplotlib._sheet import INK, WIDTH, Sheet, epoch_ticks, plain, value_ticks
from sfgsearch.visualization.matplotlib._study_axes import literal

_LEFT, _HEIGHT, _ROW = 64, 150, 204
_COLUMNS = {1: 1, 2: 2, 4: 2}


def plot_history(history: History, *, units: Mapping[str, str] | None = None) -> Figure:
    """Plot losses, objective, relative error, metrics and, where they are learned, weights of tasks over epochs.

    The twin of :func:`sfgsearch.visualization.plot_history`.

    Args:
        history: A trial, reports of its epochs, or what its ``history.json`` holds.
        units: Units by ``"<task>/<metric>"``; those of the trial if None.

    Returns:
        A matplotlib figure with a panel per quantity.
    """
    found = curves(history, units)
    title = trial_title(history, "the course of its training")
    if not found.panels:
        return Sheet.saying(title, NO_HISTORY)
    columns = _COLUMNS.get(len(found.panels), 3)
    rows = math.ceil(len(found.panels) / columns)
    colours = {**task_colours(found.tasks), ALL: INK}
    sheet = Sheet(title, rows * _ROW + 8, colours, dashed=(ALL,))
    step = (WIDTH - 8) / columns
    for index, panel in enumerate(found.panels):
        row, column = divmod(index, columns)
        axes = sheet.axes(_LEFT + column * step, 24 + row * _ROW, step - _LEFT - 12, _HEIGHT)
        _draw(axes, panel, found.epochs, colours)
        if index + columns >= len(found.panels):
            axes.set_xlabel("epochs trained", fontsize=8, labelpad=2)
    return sheet.figure


def _draw(axes: Axes, panel: CurvePanel, epochs: tuple[int, ...], colours: Mapping[str, str]) -> None:
    plain(axes)
    axes.set_title(literal(panel.title), fontsize=8.5, pad=4)
    axes.set_ylabel(literal(panel.unit), fontsize=8, labelpad=2)
    for curve in panel.curves:
        axes.plot(
            epochs,
            curve.values,
            color=colours[curve.task],
            linestyle="--" if curve.task == ALL else "-",
            marker="o" if len(epochs) == 1 else None,
            linewidth=1.8,
        )
    epoch_ticks(axes, epochs)
    value_ticks(axes, [value for curve in panel.curves for value in curve.values])
