"""What tuning did, drawn with matplotlib."""

from __future__ import annotations

import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sfgsearch.records import Strategy
from sfgsearch.visualization._study_marks import Mark, heading, mark, shortened
from sfgsearch.visualization.data._scales import spans_decades
from sfgsearch.visualization.data._tuning import ParameterSlice, Tuning, tuning
from sfgsearch.visualization.matplotlib._study_axes import (
    DOTS,
    WIDTH,
    empty,
    label_width,
    literal,
    name_rows,
    new_figure,
    scale_axis,
    tidy,
)

_COLUMNS = 3
_BAR, _SLICE, _REMARK = 0.24, 2.0, 0.3
_GAP, _LETTER = 30, 7.0
"""Dots."""


def plot_tuning_importances(
    study: optuna.Study, *, strategy: Strategy = "learned", slices: int | None = None
) -> Figure:
    """Plot what tuning did over the trials of one strategy, such as that of temperature, KL weight and prior.

    The twin of :func:`sfgsearch.visualization.plot_tuning_importances`.

    Args:
        study: The study, in any storage.
        strategy: Whose trials; shares of filters, or their curve over depth, are what searched ones tune.
        slices: How many parameters to show below, the most important ones; all if None.

    Returns:
        A matplotlib figure.
    """
    found = tuning(study, strategy)
    title = heading(study.study_name, f"what tuning did among {strategy} trials")
    shown = found.slices[:slices]
    if not shown:
        return empty(title, found.remark)
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    bars = 0.7 + _BAR * len(found.importances) if found.importances else _REMARK
    figure = new_figure(title, 0.4 + bars + _SLICE * rows)
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[bars, *[_SLICE] * rows])
    _draw_importances(figure.add_subplot(grid[0, :]), found)
    errors = [100 * error for one in shown for error in one.errors]
    width = (DOTS * WIDTH - label_width(list(found.importances or ()))) / columns - _GAP
    for index, one in enumerate(shown):
        axes = figure.add_subplot(grid[index // columns + 1, index % columns])
        _draw_slice(axes, one, width, mark(strategy))
        scale_axis(axes, "y", errors, is_log=spans_decades(errors))
        axes.set_ylim(min(errors) / 1.1, max(errors) * 1.1)
        if index % columns:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel("relative error, %", fontsize=8)
    return figure


def _draw_importances(axes: Axes, found: Tuning) -> None:
    if not found.importances:
        axes.set_axis_off()
        axes.text(0, 1, literal(found.remark), transform=axes.transAxes, va="top", color="#666666", fontsize=9)
        return
    tidy(axes, grid="x")
    values = [100 * value for value in found.importances.values()]
    axes.barh(range(len(values)), values, color=mark(found.strategy).colour)
    name_rows(axes, list(found.importances))
    axes.set_xlabel(f"importance, % ({found.remark})", fontsize=8)


def _draw_slice(axes: Axes, one: ParameterSlice, width: float, style: Mark) -> None:
    tidy(axes)
    categories = one.categories
    x = [categories.index(value) for value in one.values] if one.is_category else list(one.values)
    axes.plot(
        x,
        [100 * error for error in one.errors],
        color=style.colour,
        marker=style.marker,
        markersize=5,
        alpha=0.6,
        linestyle="none",
    )
    if one.is_category:
        letters = max(int(width / len(categories) / _LETTER), 3)
        axes.set_xticks(range(len(categories)), [literal(shortened(word, letters)) for word in categories])
        axes.set_xlim(-0.5, len(categories) - 0.5)
    else:
        scale_axis(axes, "x", x, is_log=one.is_log, length=width)
    axes.set_xlabel(literal(one.name), fontsize=8)
