"""What it took to reach a score, drawn with plotly."""

from __future__ import annotations

import optuna
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sfgsearch.visualization._study_layout import PAGE, FigureSize, Frame, axis, empty, rounded, scale
from sfgsearch.visualization._study_marks import heading, mark
from sfgsearch.visualization.data._budget import BudgetCurve, budget_curves, time_unit
from sfgsearch.visualization.data._scales import spans_decades


def plot_budget(study: optuna.Study, *, size: FigureSize = PAGE) -> go.Figure:
    """Plot the best relative error so far of each kind against the training time and the trials that it took.

    Time is what the trials of a kind took together, pruned and failed ones too, whoever trained them.

    Args:
        study: The study, in any storage.
        size: Where it is shown.

    Returns:
        A plotly figure with two panels.
    """
    curves = budget_curves(study)
    title = heading(study.study_name, "what it took to reach a score")
    if not curves:
        return empty(title, "No trial is complete yet", size)
    unit, length = time_unit(max(curve.seconds[-1] for curve in curves))
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.05)
    for curve in curves:
        _draw(figure, curve, [seconds / length for seconds in curve.seconds], 1)
        _draw(figure, curve, list(map(float, curve.trials)), 2)
    errors = [100 * error for curve in curves for error in curve.errors]
    figure.update_yaxes(axis(**scale(errors, spans_decades(errors))))
    figure.update_yaxes(title_text="best relative error so far, %, validation", row=1, col=1)
    figure.update_xaxes(axis(f"training time of the kind, {unit}", rangemode="tozero"), row=1, col=1)
    figure.update_xaxes(axis("trials of the kind", rangemode="tozero"), row=1, col=2)
    return Frame(title, size, legend=[curve.kind for curve in curves], top=14).around(figure, 320)


def _draw(figure: go.Figure, curve: BudgetCurve, budget: list[float], column: int) -> None:
    style = mark(curve.kind)
    figure.add_scatter(
        x=rounded(budget),
        y=rounded(100 * error for error in curve.errors),
        mode="lines+markers",
        line={"color": style.colour, "shape": "hv", "width": 2},
        marker={"symbol": style.symbol, "size": [8 if improved else 0 for improved in curve.improved]},
        name=curve.kind,
        legendgroup=curve.kind,
        showlegend=column == 1,
        hovertemplate=curve.kind + ": %{y:.3g} % after %{x:.4g}<extra></extra>",
        row=1,
        col=column,
    )
