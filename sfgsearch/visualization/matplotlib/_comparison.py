"""Finalists side by side, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sfgsearch.comparison import Comparison
from sfgsearch.visualization._study_marks import MARKS, heading
from sfgsearch.visualization.data._comparison import MetricPanel, comparison_panels, panel_titles, which_finalists
from sfgsearch.visualization.matplotlib._study_axes import (
    DOTS,
    WIDTH,
    add_legend,
    draw_points,
    empty,
    label_width,
    literal,
    mark_handle,
    name_rows,
    new_figure,
    scale_axis,
    tidy,
)

_COLUMNS = 3
_BOLD_LETTER = 8.2
"""Dots."""


def plot_comparison(comparison: Comparison, *, metrics: Sequence[str] | None = None) -> Figure:
    """Plot finalists against each other: the relative error and the tasks' main metrics, with 95 % intervals.

    The twin of :func:`sfgsearch.visualization.plot_comparison`.

    Args:
        comparison: What :func:`sfgsearch.comparison.compare` returns.
        metrics: Keys ``"<task>/<metric>"`` to show instead of the main ones.

    Returns:
        A matplotlib figure with one panel per metric.
    """
    title = heading(comparison.study, f"{which_finalists(comparison)}, mean and 95 % interval over seeds")
    panels = comparison_panels(comparison, metrics)
    if not panels:
        return empty(title, "No finalist yet")
    names = [point.name for point in panels[0].points]
    present = {(point.kind, point.inference) for point in panels[0].points}
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(title, 0.9 + rows * (0.85 + 0.24 * len(names)))
    grid = figure.subplots(rows, columns, squeeze=False)
    width = (DOTS * WIDTH - label_width(names)) / columns
    titles = panel_titles(panels, int(width // _BOLD_LETTER))
    for index, axes in enumerate(grid.flat):
        if index < len(panels):
            _draw(axes, panels[index], names, has_labels=index % columns == 0)
            axes.set_title(literal(titles[index][0]), fontsize=9, fontweight="bold")
            axes.set_xlabel(literal(titles[index][1]), fontsize=8)
        else:
            axes.set_visible(False)
    add_legend(figure, [mark_handle(*pair) for pair in MARKS if pair in present])
    return figure


def _draw(axes: Axes, panel: MetricPanel, names: list[str], *, has_labels: bool) -> None:
    tidy(axes)
    for pair in MARKS:
        points = [point for point in panel.points if (point.kind, point.inference) == pair]
        if points:
            draw_points(
                axes,
                [point.mean for point in points],
                [names.index(point.name) for point in points],
                pair,
                half_widths=[point.high - point.mean for point in points],
                along="x",
            )
    name_rows(axes, names, has_labels=has_labels)
    scale_axis(axes, "x", [point.mean for point in panel.points], is_log=False)
