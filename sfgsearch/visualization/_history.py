"""The course of a training, drawn with plotly."""

from __future__ import annotations

import math
from collections.abc import Mapping

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sfgsearch.visualization._colours import task_colours
from sfgsearch.visualization._study_layout import INK, PAGE, Frame, axis, empty, plain, rounded, scale
from sfgsearch.visualization._trial_titles import NO_HISTORY, trial_title
from sfgsearch.visualization.data._curves import ALL, Curve, curves
from sfgsearch.visualization.data._scales import spans_decades
from sfgsearch.visualization.data._trajectories import History

_COLUMNS = {1: 1, 2: 2, 4: 2}
_ROW, _BETWEEN = 180, 70


def plot_history(history: History, *, units: Mapping[str, str] | None = None) -> go.Figure:
    """Plot losses, objective, relative error, metrics and, where they are learned, weights of tasks over epochs.

    Args:
        history: A trial, reports of its epochs, or what its ``history.json`` holds.
        units: Units by ``"<task>/<metric>"``; those of the trial if None.

    Returns:
        A plotly figure with a panel per quantity.
    """
    found = curves(history, units)
    title = trial_title(history, "the course of its training")
    if not found.panels:
        return empty(title, NO_HISTORY, PAGE)
    columns = _COLUMNS.get(len(found.panels), 3)
    rows = math.ceil(len(found.panels) / columns)
    height = rows * (_ROW + _BETWEEN) - _BETWEEN
    figure = make_subplots(
        rows,
        columns,
        horizontal_spacing=0.09,
        vertical_spacing=_BETWEEN / height if rows > 1 else 0,
        subplot_titles=[plain(panel.title) for panel in found.panels],
    )
    colours = {**task_colours(found.tasks), ALL: INK}
    named: set[str] = set()
    margin = 0.03 * (found.epochs[-1] - found.epochs[0]) or 0.5
    figure.update_xaxes(
        axis(nticks=6, tickformat="d", showgrid=False, range=[found.epochs[0] - margin, found.epochs[-1] + margin])
    )
    for index, panel in enumerate(found.panels):
        place = {"row": index // columns + 1, "col": index % columns + 1}
        for curve in panel.curves:
            _draw(figure, found.epochs, curve, colours[curve.task], panel.unit, curve.task not in named, place)
            named.add(curve.task)
        values = [value for curve in panel.curves for value in curve.values]
        figure.update_yaxes(axis(panel.unit, **scale(values, spans_decades(values)), automargin="left"), **place)
        if index + columns >= len(found.panels):
            figure.update_xaxes(title_text="epochs trained", **place)
    figure.update_annotations(font_size=12)
    return Frame(title, PAGE, legend=[*found.tasks, ALL], top=26).around(figure, height)


def _draw(
    figure: go.Figure,
    epochs: tuple[int, ...],
    curve: Curve,
    colour: str,
    unit: str,
    has_entry: bool,
    place: Mapping[str, int],
) -> None:
    figure.add_scatter(
        x=list(epochs),
        y=rounded(curve.values, digits=8),  # late epochs differ by little
        mode="lines" if len(epochs) > 1 else "markers",
        line={"color": colour, "width": 2, "dash": "dash" if curve.task == ALL else "solid"},
        marker={"color": colour, "size": 8},
        name=plain(curve.task),
        legendgroup=curve.task,
        showlegend=has_entry,
        hovertemplate=f"{plain(curve.task)}, epoch %{{x}}: %{{y:.4g}} {plain(unit)}<extra></extra>",
        **place,
    )
