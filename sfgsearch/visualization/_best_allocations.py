"""The allocations of the best of each kind, drawn with plotly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sfgsearch.comparison import Comparison
from sfgsearch.visualization._colours import group_colours
from sfgsearch.visualization._study_layout import (
    PAGE,
    FigureSize,
    Frame,
    axis,
    empty,
    label_width,
    plain,
    rounded,
)
from sfgsearch.visualization._study_marks import heading, shortened
from sfgsearch.visualization._trial_titles import LONGEST_NAME
from sfgsearch.visualization.data._allocations import BestAllocation, best_allocations, longest_layers

_ROOMY, _TIGHT, _MANY = 34, 19, 12
"""Pixels per layer where there are few and where there are many, and how many are many."""

_LABEL, _BETWEEN = 13, 28
"""Pixels that the name of a layer needs, and those between panels, which keep 100 and 0 apart."""


def plot_best_allocations(
    study: optuna.Study, comparison: Comparison | None = None, *, size: FigureSize = PAGE
) -> go.Figure:
    """Plot how the best of each kind shares its filters, layer by layer, the first layer on top.

    Args:
        study: The study, in any storage.
        comparison: Its finalists, whose best are taken; without it the best trials.
        size: Where it is shown; where that is low, some layers go without their names.

    Returns:
        A plotly figure with one panel per kind; bars show every group's part of a layer's filters.
    """
    best = best_allocations(study, comparison)
    title = heading(study.study_name, "how the best of each kind shares its filters")
    if not best:
        return empty(title, "No trial is complete yet", size)
    names = longest_layers(best)
    layers = [shortened(name, LONGEST_NAME) for name in names]
    frame = Frame(title, size, legend=best[0].allocation.groups, left=label_width(layers), top=74)
    wanted = max(len(layers) * (_TIGHT if len(layers) > _MANY else _ROOMY), 120)
    named = range(0, len(layers), math.ceil(_LABEL * len(layers) / frame.inner(wanted)))
    figure = make_subplots(
        1,
        len(best),
        shared_yaxes=True,
        horizontal_spacing=_BETWEEN / frame.width,
        subplot_titles=[
            f"<b>{best_one.kind}</b>" + "".join(f"<br>{plain(line)}" for line in best_one.caption) for best_one in best
        ],
    )
    for column, one in enumerate(best, start=1):
        _draw(figure, one, column, names)
    figure.update_xaxes(axis("filters, %", range=[0, 100], tickvals=[0, 50, 100]))
    figure.update_yaxes(
        axis(
            tickvals=list(named),
            ticktext=[plain(layers[index]) for index in named],
            range=[len(layers) - 0.5, -0.5],
            showgrid=False,
            ticks="",
        )
    )
    figure.update_layout(barmode="stack", bargap=0.15)
    figure.update_annotations(font_size=12)
    return frame.around(figure, wanted)


def _draw(figure: go.Figure, best: BestAllocation, column: int, names: Sequence[str]) -> None:
    allocation = best.allocation
    colours = group_colours(allocation.tasks)
    for index, group in enumerate(allocation.groups):
        figure.add_bar(
            x=rounded(100 * parts[index] for parts in best.shares),
            y=[names.index(layer.name) for layer in allocation.layers],
            orientation="h",
            marker={"color": colours[group], "line": {"color": "white", "width": 0.5}},
            name=plain(group),
            legendgroup=group,
            showlegend=column == 1,
            text=[f"{plain(layer.name)}: {layer.counts[index]} of {layer.num_filters}" for layer in allocation.layers],
            textposition="none",
            hovertemplate="%{text}, " + plain(group) + ", %{x:.3g} %<extra></extra>",
            row=1,
            col=column,
        )
