"""What it took to reach a score, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sfgsearch.visualization._study_marks import heading, mark
from sfgsearch.visualization.data._budget import BudgetCurve, budget_curves, time_unit
from sfgsearch.visualization.data._scales import spans_decades
from sfgsearch.visualization.matplotlib._study_axes import add_legend, empty, new_figure, scale_axis, tidy


def plot_budget(study: optuna.Study) -> Figure:
    """Plot the best relative error so far of each kind against the training time and the trials that it took.

    The twin of :func:`sfgsearch.visualization.plot_budget`.

    Args:
        study: The study, in any storage.

    Returns:
        A matplotlib figure with two panels.
    """
    curves = budget_curves(study)
    title = heading(study.study_name, "what it took to reach a score")
    if not curves:
        return empty(title, "No trial is complete yet")
    unit, length = time_unit(max(curve.seconds[-1] for curve in curves))
    figure = new_figure(title, 4.2)
    by_time, by_trials = figure.subplots(1, 2, sharey=True)
    handles = []
    for curve in curves:
        handles.append(_draw(by_time, curve, [seconds / length for seconds in curve.seconds]))
        _draw(by_trials, curve, curve.trials)
    errors = [100 * error for curve in curves for error in curve.errors]
    for axes, label in ((by_time, f"training time of the kind, {unit}"), (by_trials, "trials of the kind")):
        tidy(axes)
        axes.set_xlim(left=0)
        axes.set_xlabel(label, fontsize=8)
    by_trials.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    scale_axis(by_time, "y", errors, is_log=spans_decades(errors))
    by_time.set_ylabel("best relative error so far, %, validation", fontsize=8)
    add_legend(figure, handles)
    return figure


def _draw(axes: Axes, curve: BudgetCurve, budget: Sequence[float]) -> Line2D:
    style = mark(curve.kind)
    (line,) = axes.plot(
        budget,
        [100 * error for error in curve.errors],
        color=style.colour,
        marker=style.marker,
        markersize=5,
        markevery=[index for index, improved in enumerate(curve.improved) if improved],
        drawstyle="steps-post",
        label=curve.kind,
    )
    return line
