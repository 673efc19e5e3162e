"""Accuracy against multiply-adds, drawn with matplotlib."""

from __future__ import annotations

import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sfgsearch.comparison import Comparison
from sfgsearch.records import STRATEGIES
from sfgsearch.visualization._study_marks import MARKS, heading, mark
from sfgsearch.visualization.data._pareto import Cloud, pareto_cloud
from sfgsearch.visualization.matplotlib._study_axes import (
    DOTS,
    WIDTH,
    add_legend,
    draw_points,
    empty,
    literal,
    mark_handle,
    new_figure,
    scale_axis,
    tidy,
)

_INK = "#333333"
_HEIGHT = 330
"""Dots between the axes, about."""
_OFFSETS = {"left": -6, "center": 0, "right": 6, "top": 5, "middle": 0, "bottom": -5}
"""Points from a mark to its name."""


def plot_pareto(study: optuna.Study, comparison: Comparison | None = None, *, metric: str | None = None) -> Figure:
    """Plot quality against multiply-adds: trials faintly, named finalists with 95 % intervals, and the Pareto front.

    The twin of :func:`sfgsearch.visualization.plot_pareto`.

    Args:
        study: The study, in any storage.
        comparison: Its finalists, where there are any.
        metric: A main metric ``"<task>/<metric>"`` of the comparison instead of the mean relative error.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If the comparison has no such metric.
    """
    cloud = pareto_cloud(study, comparison, metric)
    title = heading(study.study_name, f"{cloud.title} against multiply-adds")
    if not cloud.front:
        return empty(title, "No trial is complete yet")
    figure = new_figure(title, 5.0)
    axes = figure.subplots()
    tidy(axes)
    handles: list[Line2D | Patch] = []
    if len(cloud.front) > 1:
        handles += axes.plot(
            [point.macs for point in cloud.front],
            [point.value for point in cloud.front],
            color=_INK,
            linewidth=1.2,
            linestyle=":",
            label=cloud.front_name,
        )
    handles += _draw_trials(axes, cloud) + _draw_finalists(axes, cloud)
    _name_finalists(axes, cloud)
    points = (*cloud.trials, *cloud.finalists)
    scale_axis(axes, "x", [point.macs for point in points], is_log=cloud.has_log_macs)
    scale_axis(axes, "y", [point.value for point in points], is_log=cloud.has_log_values)
    if not cloud.has_log_macs:
        axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("multiply-adds for one image", fontsize=9)
    axes.set_ylabel(literal(cloud.axis), fontsize=9)
    add_legend(figure, handles)
    return figure


def _name_finalists(axes: Axes, cloud: Cloud) -> None:
    for point, label in zip(cloud.finalists, cloud.labels(DOTS * WIDTH, _HEIGHT), strict=True):
        x, y = _OFFSETS[label.horizontal], _OFFSETS[label.vertical]
        axes.annotate(
            literal(label.text),
            (point.macs, point.value),
            (x, y),
            textcoords="offset points",
            ha={-1: "right", 0: "center", 1: "left"}[x and x // abs(x)],
            va={-1: "top", 0: "center", 1: "bottom"}[y and y // abs(y)],
            fontsize=7,
            color=_INK,
        )


def _draw_trials(axes: Axes, cloud: Cloud) -> list[Line2D]:
    handles = []
    for kind in STRATEGIES:
        points, style = [point for point in cloud.trials if point.kind == kind], mark(kind)
        if points:
            handles += axes.plot(
                [point.macs for point in points],
                [point.value for point in points],
                color=style.colour,
                marker=style.marker,
                markersize=4.5,
                markeredgewidth=0,
                alpha=0.3,
                linestyle="none",
                label=f"{kind} trials",
            )
    return handles


def _draw_finalists(axes: Axes, cloud: Cloud) -> list[Line2D]:
    handles = []
    for pair in MARKS:
        points = [point for point in cloud.finalists if (point.kind, point.inference) == pair]
        if points:
            draw_points(
                axes,
                [point.macs for point in points],
                [point.value for point in points],
                pair,
                half_widths=[point.high - point.value for point in points],
                along="y",
            )
            handles.append(mark_handle(*pair))
    return handles
